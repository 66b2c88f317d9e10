"""Worker and scheduler as processes: the application without a server in front."""

import asyncio
import signal

from fastapi import FastAPI

{% if cookiecutter.use_prometheus -%}
from ..metrics.jobs import serve_jobs
{% endif -%}
from .runner import Worker
from .scheduler import Scheduler


async def run_until_stopped(app: FastAPI, kind: type[Worker | Scheduler]) -> None:
    """Work until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
{%- if cookiecutter.use_prometheus %}
    serve_jobs(app)
{%- endif %}
    async with app.router.lifespan_context(app):
        await kind(app).run(stop)
