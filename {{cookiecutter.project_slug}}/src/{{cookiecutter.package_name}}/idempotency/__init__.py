"""Repeat a request safely with the Idempotency-Key header (a draft of the IETF HTTPAPI group)."""
