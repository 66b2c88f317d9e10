"""Redis: a cache, and rate limits shared by all replicas.

During a Redis outage the service works without the cache, and each process counts its own limits.
"""
