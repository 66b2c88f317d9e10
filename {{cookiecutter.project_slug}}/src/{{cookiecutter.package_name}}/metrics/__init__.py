"""Metrics for Prometheus, taken from outside: the other packages have no line for it.

Requests are counted by middleware, what the service says happened by its log events, and the rest
by wrapping methods of what `app.state` holds.
"""

import platform

from fastapi import FastAPI
from prometheus_client import Gauge, disable_created_metrics

from .. import __version__
from ..settings import Settings
from . import auth, {% if cookiecutter.use_redis %}cache, {% endif %}database, events, requests
from .server import serve as serve

# They would double the number of series, and say what a counter's reset says.
disable_created_metrics()  # type: ignore[no-untyped-call]
BUILD = Gauge(
    "build_info", "What runs, always 1.", ["version", "python"], multiprocess_mode="livemax"
)


def setup(app: FastAPI, settings: Settings) -> None:
    """Measure the application; outermost of all middleware, and after all that is measured."""
    BUILD.labels(__version__, platform.python_version()).set(1)
    app.add_middleware(requests.MetricsMiddleware)
    database.observe(app.state.database, settings)
    auth.observe(app.state.auth)
{%- if cookiecutter.use_redis %}
    cache.observe(app)
{%- endif %}
    events.observe()
