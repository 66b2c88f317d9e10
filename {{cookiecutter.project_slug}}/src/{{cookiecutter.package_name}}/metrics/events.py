"""What the service logs: a constant event is counted here, whatever LOG_LEVEL lets through."""

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

import structlog
from prometheus_client import Counter{% if cookiecutter.use_worker %}, Histogram{% endif %}

LINES = Counter("log_lines", "Log lines from warnings upwards, by level.", ["level"])
LOGINS = Counter("auth_logins", "Logins with a password, by outcome.", ["outcome"])
REUSED = Counter(
    "auth_refresh_reuse_detected", "Sessions revoked because a refresh token was used again."
)
{%- if cookiecutter.use_worker %}
JOBS = Counter("jobs", "Attempts to run a job, by task and outcome.", ["task", "outcome"])
JOB_DURATION = Histogram(
    "job_duration_seconds",
    "Time of an attempt to run a job.",
    ["task"],
    buckets=(0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 600),
)


def _count_job(values: Mapping[str, Any]) -> None:
    task = structlog.contextvars.get_contextvars()["task"]
    JOBS.labels(task, values["outcome"]).inc()
    JOB_DURATION.labels(task).observe(values["duration"] / 1e9)

{% endif %}
EVENTS: Final[Mapping[str, Callable[[Mapping[str, Any]], None]]] = {
    "login": lambda _: LOGINS.labels("success").inc(),
    "login failed": lambda _: LOGINS.labels("failure").inc(),
    "refresh token reuse detected": lambda _: REUSED.inc(),
{%- if cookiecutter.use_worker %}
    "job": _count_job,
{%- endif %}
}


def observe() -> None:
    """Listen to the loggers as `configure_logging` has left them."""
    # A counter that begins with its first event would hide that event from every rate.
    for outcome in ("success", "failure"):
        LOGINS.labels(outcome)
    structlog.configure(wrapper_class=_listening(structlog.get_config()["wrapper_class"]))
    logging.getLogger().addHandler(LineCounter())


def _listening(logger: type) -> type:
    def method(level: str) -> Callable[..., Any]:
        log: Callable[..., Any] = getattr(logger, level)

        def listen(self: object, event: str, *arguments: Any, **values: Any) -> Any:
            if event in EVENTS:
                EVENTS[event](values)
            return log(self, event, *arguments, **values)

        return listen

    levels = ("info", "warning", "error")
    return type("ListeningLogger", (logger,), {level: method(level) for level in levels})


class LineCounter(logging.Handler):
    """Counts lines of our own and of libraries."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        levels = ("WARNING", "ERROR", "CRITICAL")
        self._lines = {level: LINES.labels(level.lower()) for level in levels}

    def emit(self, record: logging.LogRecord) -> None:
        """Count a line."""
        if record.levelname in self._lines:
            self._lines[record.levelname].inc()
