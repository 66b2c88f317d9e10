"""Redis: a cache, and limits that all replicas share.

The service works without it: Redis is not used during an outage.
"""
