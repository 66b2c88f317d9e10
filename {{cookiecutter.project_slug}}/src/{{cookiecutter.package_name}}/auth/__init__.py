"""Authentication: OAuth 2.0 tokens for clients, cookie sessions for browsers, passwords."""
