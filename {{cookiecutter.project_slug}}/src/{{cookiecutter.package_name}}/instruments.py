"""Prometheus metrics that the services update, such as logins{% if cookiecutter.use_redis %} and cache reads{% endif %}."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics

# The `_created` series would double the number of series.
disable_created_metrics()  # type: ignore[no-untyped-call]

LOGINS: Final = Counter("auth_logins", "Logins with a password, by outcome.", ["outcome"])
REFRESH_TOKEN_REUSES: Final = Counter(
    "auth_refresh_reuse_detected", "Sessions revoked because a refresh token was used again."
)
ATTEMPTS_REFUSED: Final = Counter(
    "attempts_refused", "Attempts beyond a limit, by purpose of the limit.", ["purpose"]
)
PASSWORDS_IN_PROGRESS: Final = Gauge(
    "password_hashes_in_progress",
    "Passwords being hashed or checked, including those that wait for a core.",
    multiprocess_mode="livesum",
)
PASSWORD_DURATION: Final = Histogram(
    "password_hash_duration_seconds",
    "Time to hash or check a password, including the wait for a core.",
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
POOL_WAIT: Final = Histogram(
    "database_pool_wait_seconds",
    "Time until a connection was free or the wait timed out.",
    buckets=(0.0001, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
{%- if cookiecutter.use_redis %}
CACHE_READS: Final = Counter(
    "cache_reads", "Values read through the cache, by outcome.", ["outcome"]
)
REDIS_ERRORS: Final = Counter("redis_errors", "Redis commands that failed or were skipped.")
RATE_LIMITED: Final = Counter(
    "rate_limited_requests", "Requests beyond a rate limit, by policy.", ["policy"]
)
{%- endif %}
{%- if cookiecutter.use_worker %}
JOBS: Final = Counter("jobs", "Attempts to run a job, by task and outcome.", ["task", "outcome"])
JOB_DURATION: Final = Histogram(
    "job_duration_seconds",
    "Time of an attempt to run a job.",
    ["task"],
    buckets=(0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 600),
)
{%- endif %}

# A counter that appears with its first event hides that event from `rate` and `increase`.
for outcome in ("success", "failure"):
    LOGINS.labels(outcome)
for purpose in ("account", "account_address", "login", "reauthentication", "register"):
    ATTEMPTS_REFUSED.labels(purpose)
{%- if cookiecutter.use_redis %}
for outcome in ("hit", "miss"):
    CACHE_READS.labels(outcome)
RATE_LIMITED.labels("default")
{%- endif %}
