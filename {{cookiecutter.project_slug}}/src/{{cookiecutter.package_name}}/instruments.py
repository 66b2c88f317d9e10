"""Prometheus metrics that the services update, such as logins{% if cookiecutter.use_redis %} and cache reads{% endif %}."""

from itertools import product
from typing import Final

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics

# The `_created` series would double the number of series.
disable_created_metrics()  # type: ignore[no-untyped-call]

LOGINS: Final = Counter("auth_logins", "Logins with a password, by outcome.", ["outcome"])
TOKEN_REQUESTS: Final = Counter(
    "auth_token_requests",
    "Requests of the token endpoint, by grant and outcome.",
    ["grant", "outcome"],
)
FACTORS: Final = Counter(
    "auth_second_factors", "Second factors checked, by method and outcome.", ["method", "outcome"]
)
RECOVERIES: Final = Counter(
    "auth_recoveries",
    "Links sent by email and used, by purpose and outcome.",
    ["purpose", "outcome"],
)
MAILS: Final = Counter("emails", "Emails, by template and outcome.", ["template", "outcome"])
REFRESH_TOKEN_REUSES: Final = Counter(
    "auth_refresh_reuse_detected", "Sessions revoked because a refresh token was used again."
)
INSUFFICIENT_SCOPE: Final = Counter(
    "auth_insufficient_scope", "Requests whose credential lacks the scope of the route."
)
PERSONAL_TOKENS: Final = Counter(
    "auth_personal_tokens",
    "Personal access tokens created and revoked, and requests with an invalid one, by outcome.",
    ["outcome"],
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
IDEMPOTENT_REQUESTS: Final = Counter(
    "idempotent_requests", "Requests with an Idempotency-Key, by outcome.", ["outcome"]
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

GRANTS: Final = ("password", "refresh_token", "client_credentials")  # of the token endpoint

# A counter that appears with its first event hides that event from `rate` and `increase`.
for outcome in ("success", "failure", "code_required", "code_failure", "unverified"):
    LOGINS.labels(outcome)
for outcome in ("new", "replayed", "mismatch", "in_use"):
    IDEMPOTENT_REQUESTS.labels(outcome)
for outcome in ("created", "revoked", "expired", "rejected"):
    PERSONAL_TOKENS.labels(outcome)
for labels in product((*GRANTS, "unsupported"), ("issued", "rejected")):
    TOKEN_REQUESTS.labels(*labels)
for labels in product(("totp", "recovery_code"), ("success", "failure")):
    FACTORS.labels(*labels)
_PURPOSES = ("password_reset", "email_verification", "invitation", "email_change", "email_undo")
for labels in product(_PURPOSES, ("requested", "completed", "rejected")):
    RECOVERIES.labels(*labels)
_TEMPLATES = (
    "account_exists",
    "email_change",
    "email_undo",
    "invitation",
    "notice",
    "password_reset",
    "verification",
)
for labels in product(_TEMPLATES, ("sent", "failed", "dropped")):
    MAILS.labels(*labels)
for purpose in (
    "account",
    "account_address",
    "client",
    "email_change",
    "login",
    "reauthentication",
    "recovery",
    "register",
):
    ATTEMPTS_REFUSED.labels(purpose)
{%- if cookiecutter.use_redis %}
for outcome in ("hit", "miss"):
    CACHE_READS.labels(outcome)
RATE_LIMITED.labels("default")
{%- endif %}
