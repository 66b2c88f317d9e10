"""Start and shutdown of the service."""

import json
import socket
from pathlib import Path
from typing import Any

from orders.main import create_app
from starlette.types import Message
from support import NewDatabase, accepts, registration, serve, settings_for

BODY = json.dumps(registration()).encode()
HEAD = (
    "POST /api/v1/users HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    f"Content-Length: {len(BODY)}\r\nExpect: 100-continue\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n"
).encode()


async def test_shutdown_finishes_running_requests(
    new_database: NewDatabase, tmp_path: Path
) -> None:
    def logged(message: str) -> list[dict[str, Any]]:
        text = (tmp_path / "log").read_text(encoding="utf-8")
        lines = [json.loads(line) for line in text.splitlines(keepends=True) if line[-1] == "\n"]
        return [line for line in lines if line["message"] == message]

    async with new_database() as url:
        settings = settings_for(
            url,
            log_format="json",
            log_level="INFO",
            forwarded_allow_ips="192.0.2.1",
        )
        with (
            serve(settings, tmp_path / "log") as server,
            socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection,
        ):
            connection.sendall(HEAD)
            assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")  # waits for the body

            server.process.terminate()
            server.until(lambda: not accepts(server.port))
            connection.sendall(BODY)

            assert connection.recv(1000).startswith(b"HTTP/1.1 202 ")
            assert server.process.wait(timeout=60) == 0
    assert logged("Application shutdown complete.")
    # X-Forwarded-For counts only from a trusted proxy.
    assert [line["client.ip"] for line in logged("request")] == ["127.0.0.1"]


async def test_shutdown_closes_the_pool(database_url: str) -> None:
    app = create_app(settings_for(database_url))
    pool = app.state.services.database.read_engine.pool
    incoming: list[Message] = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    outgoing: list[str] = []

    async def receive() -> Message:
        async with app.state.services.database.read_session() as session:
            await session.connection()
        return incoming.pop(0)

    async def send(message: Message) -> None:
        outgoing.append(message["type"])

    await app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send)

    assert outgoing == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert pool.checkedin() == 0
