"""The parts of the application that route handlers declare as dependencies.

Read-only routes depend on `ReadSession`, which runs each query in autocommit and rejects writes.
Routes that change data depend on `DbSession`, a transaction that commits before the response is
sent, so that a failed commit is an error that the client sees.

Declare the caller before a session. Authentication needs a connection of its own, and
requests that each hold one connection and wait for another can deadlock.
"""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncSession

{% if cookiecutter.use_redis -%}
from .cache.store import Cache
{% endif -%}
from .database import Database
from .exceptions import MailUnavailableError
from .state import get_state


async def get_database(request: Request) -> Database:
    """Return the database of the application."""
    return get_state(request.app).database


DatabaseDep = Annotated[Database, Depends(get_database)]
{%- if cookiecutter.use_redis %}


async def get_cache(request: Request) -> Cache:
    """Return the cache of the application."""
    return get_state(request.app).cache


CacheDep = Annotated[Cache, Depends(get_cache)]
{%- endif %}


async def require_mail(request: Request) -> None:
    """Reject the request if the service cannot send email.

    Raises:
        MailUnavailableError: SMTP_URL is not set in production.
    """
    if not get_state(request.app).mailer.is_available:
        raise MailUnavailableError


RequireMail = Depends(require_mail)


async def get_read_session(database: DatabaseDep) -> AsyncIterator[AsyncSession]:
    """Yield a session that rejects writes."""
{%- if cookiecutter.database == "postgresql" %}
    async with database.replica_session() as session:
{%- else %}
    async with database.read_session() as session:
{%- endif %}
        yield session


async def get_db_session(database: DatabaseDep) -> AsyncIterator[AsyncSession]:
    """Yield a transaction; roll it back when the route raises an exception."""
    async with database.write_session() as session:
        yield session


# `scope="function"` closes the session before the response is sent.
ReadSession = Annotated[AsyncSession, Depends(get_read_session, scope="function")]
DbSession = Annotated[AsyncSession, Depends(get_db_session, scope="function")]
