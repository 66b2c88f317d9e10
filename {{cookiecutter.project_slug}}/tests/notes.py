"""Notes: a resource that only tests have, so that tests of the core need no domain."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, FastAPI, Query, Response
{%- if cookiecutter.use_redis %}
from pydantic import TypeAdapter
{%- endif %}
from sqlalchemy import ForeignKey, Index, MetaData, String, bindparam, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from {{ cookiecutter.package_name }} import api, database
{%- if cookiecutter.use_redis %}
from {{ cookiecutter.package_name }}.auth.dependencies import (
    CurrentPrincipal,
    CurrentUserId,
)
{%- else %}
from {{ cookiecutter.package_name }}.auth.dependencies import (
    CurrentPrincipal,
)
{%- endif %}
from {{ cookiecutter.package_name }}.auth.models import User
{%- if cookiecutter.use_redis %}
from {{ cookiecutter.package_name }}.cache.store import RequestCache, forget
from {{ cookiecutter.package_name }}.dependencies import (
    DatabaseDep,
    DbSession,
)
{%- else %}
from {{ cookiecutter.package_name }}.dependencies import (
    DbSession,
    ReadSession,
)
{%- endif %}
from {{ cookiecutter.package_name }}.errors import problem_responses
from {{ cookiecutter.package_name }}.exceptions import NotFoundError
from {{ cookiecutter.package_name }}.pagination import (
    Page,
    PageQuery,
{%- if not cookiecutter.use_redis %}
    RowPage,
{%- endif %}
    paginate,
)
from {{ cookiecutter.package_name }}.schemas import (
    RequestModel,
    ResponseModel,
    SingleLineStr,
)

router = APIRouter(prefix="/api/v1/notes", responses=problem_responses(401))


class Base(database.Base):
    """Base of tables that only tests have, apart from those of the migrations."""

    __abstract__ = True
    metadata = MetaData()


class Note(database.UuidKeyMixin, database.TimestampMixin, Base):
    """A title that belongs to a user."""

    __tablename__ = "notes"

    owner_id: Mapped[UUID] = mapped_column(ForeignKey(User.id, ondelete="CASCADE"))
    title: Mapped[str] = mapped_column(String(200))

    __table_args__ = (
        Index("ix_notes_owner_id_created_at_id", "owner_id", "created_at", "id"),
        Index("ix_notes_owner_id_title_id", "owner_id", "title", "id"),
    )


class Counter(database.TimestampMixin, Base):
    """A number without an owner, under an integer key."""

    __tablename__ = "counters"

    id: Mapped[int] = mapped_column(primary_key=True)
    value: Mapped[int] = mapped_column(default=0)


class NoteWrite(RequestModel):
    """A note as its owner sends it."""

    title: SingleLineStr


class NoteQuery(PageQuery):
    """The order of the list of notes."""

    sort: Literal["created_at", "-created_at", "title", "-title"] = "-created_at"


class NoteRead(ResponseModel):
    """A note as its owner sees it."""

    id: UUID
    title: str
    created_at: datetime
    updated_at: datetime


NOTES = select(Note.id, Note.title, Note.created_at, Note.updated_at).where(
    Note.owner_id == bindparam("owner_id")
)
{%- if cookiecutter.use_redis %}
NOTE_PAGE = TypeAdapter(Page[NoteRead])


def cache_namespace(owner_id: UUID) -> str:
    """Return the cache namespace of an owner's notes."""
    return f"notes:{owner_id}"
{%- endif %}


async def get_note(session: AsyncSession, owner_id: UUID, note_id: UUID) -> Note:
    """Return a note of the owner."""
    note = await session.scalar(select(Note).where(Note.id == note_id, Note.owner_id == owner_id))
    if note is None:
        raise NotFoundError("Note not found.")
    return note


@router.post("", status_code=201, response_model=NoteRead)
async def create_note(
    data: NoteWrite, principal: CurrentPrincipal, session: DbSession, response: Response
) -> Note:
    """Create a note of the caller."""
    note = Note(owner_id=principal.id, title=data.title)
    session.add(note)
    await session.flush()
{%- if cookiecutter.use_redis %}
    forget(session, cache_namespace(principal.id))
{%- endif %}
    response.headers["Location"] = f"/api/v1/notes/{note.id}"
    return note

{% if cookiecutter.use_redis %}
@router.get("")
async def list_notes(
    query: Annotated[NoteQuery, Query()],
    user_id: CurrentUserId,
    database: DatabaseDep,
    cache: RequestCache,
) -> Page[NoteRead]:
    """List the caller's notes."""

    async def load() -> Page[NoteRead]:
        async with database.read_session() as session:
            page = await paginate(session, NOTES, query, {"owner_id": user_id})
            return NOTE_PAGE.validate_python(page)

    key = query.model_dump_json()
    return (await cache.get(cache_namespace(user_id), key, load, NOTE_PAGE)).value


@router.get("/{note_id}", response_model=NoteRead)
async def read_note(note_id: UUID, principal: CurrentPrincipal, database: DatabaseDep) -> Note:
    """Return a note of the caller."""
    async with database.read_session() as session:
        return await get_note(session, principal.id, note_id)
{%- else %}
@router.get("", response_model=Page[NoteRead])
async def list_notes(
    query: Annotated[NoteQuery, Query()], principal: CurrentPrincipal, session: ReadSession
) -> RowPage:
    """List the caller's notes."""
    return await paginate(session, NOTES, query, {"owner_id": principal.id})


@router.get("/{note_id}", response_model=NoteRead)
async def read_note(note_id: UUID, principal: CurrentPrincipal, session: ReadSession) -> Note:
    """Return a note of the caller."""
    return await get_note(session, principal.id, note_id)
{%- endif %}


@router.patch("/{note_id}", response_model=NoteRead)
async def update_note(
    note_id: UUID, data: NoteWrite, principal: CurrentPrincipal, session: DbSession
) -> Note:
    """Change a note of the caller."""
    note = await get_note(session, principal.id, note_id)
    note.title = data.title
    await session.flush()
{%- if cookiecutter.use_redis %}
    forget(session, cache_namespace(principal.id))
{%- endif %}
    return note


def mount(app: FastAPI) -> FastAPI:
    """Add the routes to the application."""
    app.include_router(router, responses=api.RESPONSES)
    return app
