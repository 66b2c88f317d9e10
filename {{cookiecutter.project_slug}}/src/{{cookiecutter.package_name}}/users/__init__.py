"""Accounts: registration, one's own profile, administration."""
