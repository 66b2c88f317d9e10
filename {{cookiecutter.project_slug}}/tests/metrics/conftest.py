"""Looking at what Prometheus would read of this process."""

import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
from prometheus_client import REGISTRY

Rises = Callable[..., AbstractContextManager[None]]


@pytest.fixture
def rises() -> Rises:
    """Expects that a block raises a number, which tests before may have raised."""

    @contextmanager
    def rises(name: str, by: float = 1, **labels: str) -> Iterator[None]:
        before = REGISTRY.get_sample_value(name, labels) or 0
        yield
        assert (REGISTRY.get_sample_value(name, labels) or 0) == before + by

    return rises


@pytest.fixture
def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port: int = unused.getsockname()[1]
    return port
