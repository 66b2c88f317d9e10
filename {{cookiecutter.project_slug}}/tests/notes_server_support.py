"""A process that serves the notes: `python -m notes_server_support`.

It never sends the response to a request with the header `Hold-Response`.
"""

import asyncio
import logging

import uvicorn
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from {{ cookiecutter.package_name }}.main import create_app
from {{ cookiecutter.package_name }}.settings import load_settings

import notes_support


class HoldResponseMiddleware:
    """Log that a response is ready, and wait until the process is killed."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def hold(_: Message) -> None:
            logging.getLogger(__name__).warning("response held")
            await asyncio.Event().wait()

        is_held = scope["type"] == "http" and "Hold-Response" in Headers(scope=scope)
        await self.app(scope, receive, hold if is_held else send)


def main() -> None:
    """Serve the notes on PORT."""
    settings = load_settings()
    app = notes_support.mount(create_app(settings))
    app.add_middleware(HoldResponseMiddleware)
    uvicorn.run(app, port=settings.port, log_config=None)


if __name__ == "__main__":
    main()
