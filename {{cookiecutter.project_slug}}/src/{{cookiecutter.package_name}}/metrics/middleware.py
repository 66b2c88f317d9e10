"""Metrics of requests: number, duration, size and concurrency."""

import time
from typing import Final

from prometheus_client import Counter, Gauge, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..http import route_template

LABELS: Final = ("method", "route", "status")
# Clients can send any other method and path, and each would be a new series.
METHODS: Final = {"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"}
UNKNOWN: Final = "unknown"

# The latency objective in deploy/monitoring counts the bucket of 0.5 seconds.
DURATION: Final = Histogram(
    "http_request_duration_seconds",
    "Time until the response was sent, by route and class of status; counts the requests.",
    LABELS,
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
REQUEST_SIZE: Final = Counter(
    "http_request_body_bytes", "Bytes of request bodies that were read.", LABELS
)
RESPONSE_SIZE: Final = Counter("http_response_body_bytes", "Bytes of response bodies.", LABELS)
IN_PROGRESS: Final = Gauge(
    "http_requests_in_progress", "Requests in progress.", multiprocess_mode="livesum"
)


class MetricsMiddleware:
    """Measure requests by method, route and class of status."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status = 500
        read = sent = 0

        async def receive_measured() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            return message

        async def send_measured(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
            sent += len(message.get("body", b""))
            await send(message)

        started = time.perf_counter()
        with IN_PROGRESS.track_inprogress():
            try:
                await self.app(scope, receive_measured, send_measured)
            finally:
                method = scope["method"] if scope["method"] in METHODS else UNKNOWN
                labels = method, route_template(scope) or UNKNOWN, f"{status // 100}xx"
                DURATION.labels(*labels).observe(time.perf_counter() - started)
                if read:
                    REQUEST_SIZE.labels(*labels).inc(read)
                RESPONSE_SIZE.labels(*labels).inc(sent)
