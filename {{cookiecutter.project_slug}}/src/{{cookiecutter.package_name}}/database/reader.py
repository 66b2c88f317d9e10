"""Reading without a session."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Annotated, Any

from fastapi import Depends, Request
from sqlalchemy import Connection, Executable, Row
from sqlalchemy.util import greenlet_spawn

# What a statement that selects columns finds.
Record = Row[*tuple[Any, ...]]


class Reader:
    """Reads rows, each statement by itself.

    There are no objects to keep track of and nothing to commit, and a connection is held for no
    longer than its statement runs.

    Args:
        connect: opens a connection that reads only.
    """

    def __init__(self, connect: Callable[[], AbstractContextManager[Connection]]) -> None:
        self._connect = connect

    async def rows(self, statement: Executable, **values: object) -> Sequence[Record]:
        """All rows that the statement finds.

        Args:
            values: of the parameters that the statement has.
        """

        def read() -> Sequence[Record]:
            with self._connect() as connection:
                return connection.execute(statement, values).all()

        # One step into SQLAlchemy, where AsyncConnection would take one for each call.
        return await greenlet_spawn(read)

    async def row(self, statement: Executable, **values: object) -> Record | None:
        """The row that the statement finds by a key; None when there is none."""
        rows = await self.rows(statement, **values)
        return rows[0] if rows else None


async def _request_reader(request: Request) -> Reader:
    reader: Reader = request.app.state.database.reader
    return reader


Reading = Annotated[Reader, Depends(_request_reader)]
