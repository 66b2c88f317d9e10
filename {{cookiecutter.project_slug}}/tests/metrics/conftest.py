"""Looking at what Prometheus would read of this process."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
from prometheus_client import REGISTRY

from support import free_port

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
def metrics_port() -> Iterator[int]:
    """A port for a process of the test."""
    with free_port() as port:
        yield port
