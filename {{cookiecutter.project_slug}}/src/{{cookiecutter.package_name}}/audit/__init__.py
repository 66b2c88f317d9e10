"""A record of logins and of changes to accounts."""
