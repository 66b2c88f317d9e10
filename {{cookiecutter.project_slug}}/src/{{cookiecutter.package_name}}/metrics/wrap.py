"""Putting something around a method of one object."""

from collections.abc import Callable
from typing import Any, TypeVar

Method = TypeVar("Method", bound=Callable[..., Any])


def wrap(owner: object, name: str, wrapper: Callable[[Method], Method]) -> None:
    """Replace a method of this object by what the wrapper makes of it."""
    setattr(owner, name, wrapper(getattr(owner, name)))
