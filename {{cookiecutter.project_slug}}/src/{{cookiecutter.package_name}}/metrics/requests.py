"""Requests: how many, how long, how large, and how many at this moment."""

import time
from typing import Final

from prometheus_client import Counter, Gauge, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..http import route_template

LABELS: Final = ("method", "route", "status")
# Of all others there may be any number, as of unknown paths: each makes one series.
METHODS: Final = {"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"}
UNKNOWN: Final = "unknown"

# The bucket of 0.5 seconds is what the latency objective in deploy/monitoring counts.
DURATION = Histogram(
    "http_request_duration_seconds",
    "Time until a response was sent, by route and class of status; its count is that of requests.",
    LABELS,
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
REQUEST_SIZE = Counter("http_request_body_bytes", "Bytes of request bodies that were read.", LABELS)
RESPONSE_SIZE = Counter("http_response_body_bytes", "Bytes of response bodies.", LABELS)
RUNNING = Gauge(
    "http_requests_in_progress", "Requests that are being answered.", multiprocess_mode="livesum"
)


class MetricsMiddleware:
    """Measure each request, whatever becomes of it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        # To look a labelled metric up takes longer than to change it.
        self._children: dict[tuple[str, str, int], tuple[Histogram, Counter, Counter]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status = 500
        read = sent = 0

        async def receive_counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            return message

        async def send_counted(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                sent += len(message.get("body", b""))
            await send(message)

        RUNNING.inc()
        started = time.perf_counter()
        try:
            await self.app(scope, receive_counted, send_counted)
        finally:
            duration = time.perf_counter() - started
            RUNNING.dec()
            method = scope["method"] if scope["method"] in METHODS else UNKNOWN
            key = method, route_template(scope) or UNKNOWN, status // 100
            children = self._children.get(key) or self._label(*key)
            children[0].observe(duration)
            if read:
                children[1].inc(read)
            if sent:
                children[2].inc(sent)

    def _label(self, method: str, route: str, status: int) -> tuple[Histogram, Counter, Counter]:
        labels = method, route, f"{status}xx"
        children = (
            DURATION.labels(*labels),
            REQUEST_SIZE.labels(*labels),
            RESPONSE_SIZE.labels(*labels),
        )
        self._children[method, route, status] = children
        return children
