"""Notes: a resource that exists only in tests, so that tests of the core need no domain."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, FastAPI, Response, Security
from pydantic import Field
from sqlalchemy import ForeignKey, MetaData, String, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from {{ cookiecutter.package_name }} import api, database
{%- if cookiecutter.use_redis %}
from {{ cookiecutter.package_name }}.auth.dependencies import (
    get_current_principal,
    get_current_user_id,
)
{%- else %}
from {{ cookiecutter.package_name }}.auth.dependencies import (
    get_current_principal,
)
{%- endif %}
from {{ cookiecutter.package_name }}.auth.models import User
from {{ cookiecutter.package_name }}.auth.principal import Principal
from {{ cookiecutter.package_name }}.auth.scopes import define_scopes
{%- if cookiecutter.use_redis %}
from {{ cookiecutter.package_name }}.cache.store import invalidate
from {{ cookiecutter.package_name }}.dependencies import (
    CacheDep,
    DatabaseDep,
    DbSession,
    ReadSession,
)
{%- else %}
from {{ cookiecutter.package_name }}.dependencies import (
    DbSession,
    ReadSession,
)
{%- endif %}
from {{ cookiecutter.package_name }}.errors import problem_responses
from {{ cookiecutter.package_name }}.exceptions import NotFoundError
from {{ cookiecutter.package_name }}.idempotency.route import (
    IdempotentRoute,
    begin,
)
from {{ cookiecutter.package_name }}.schemas import (
    RequestModel,
    ResponseModel,
    SingleLineStr,
)

router = APIRouter(
    prefix="/api/v1/test-notes",
    route_class=IdempotentRoute,
    responses=problem_responses(401, 403),
    generate_unique_id_function=lambda route: f"test_{route.name}",
)
READ, WRITE = define_scopes("test-notes")
Reader = Annotated[Principal, Security(get_current_principal, scopes=[READ])]
Writer = Annotated[Principal, Security(get_current_principal, scopes=[WRITE])]
Idempotent = Security(begin, scopes=[WRITE])
{%- if cookiecutter.use_redis %}
ReaderId = Annotated[UUID, Security(get_current_user_id, scopes=[READ])]
{%- endif %}


class Base(database.Base):
    """Base of tables that exist only in tests, separate from those of the migrations."""

    __abstract__ = True
    metadata = MetaData()


class Note(database.UuidKeyMixin, database.TimestampMixin, Base):
    """A title that belongs to a user."""

    __tablename__ = "test_notes"

    owner_id: Mapped[UUID] = mapped_column(ForeignKey(User.id, ondelete="CASCADE"))
    title: Mapped[str] = mapped_column(String(200))


class NoteWrite(RequestModel):
    """A note as its owner sends it."""

    title: SingleLineStr = Field(examples=["Title"])


class NoteRead(ResponseModel):
    """A note as its owner sees it."""

    id: UUID
    title: str


class NoteList(ResponseModel):
    """The notes of an owner."""

    items: list[NoteRead]
{%- if cookiecutter.use_redis %}


def cache_namespace(owner_id: UUID) -> str:
    """Return the cache namespace of an owner's notes."""
    return f"test_notes:{owner_id}"
{%- endif %}


async def get_note(session: AsyncSession, owner_id: UUID, note_id: UUID) -> Note:
    """Return a note of the owner."""
    note = await session.scalar(select(Note).where(Note.id == note_id, Note.owner_id == owner_id))
    if note is None:
        raise NotFoundError("Note not found.")
    return note


async def get_notes(session: AsyncSession, owner_id: UUID) -> NoteList:
    """Return all notes of the owner."""
    notes = await session.scalars(select(Note).where(Note.owner_id == owner_id).order_by(Note.id))
    return NoteList(items=[NoteRead.model_validate(note) for note in notes])


@router.post(
    "",
    status_code=201,
    response_model=NoteRead,
    dependencies=[Idempotent],
    responses=problem_responses(409),
)
async def create_note(
    data: NoteWrite, principal: Writer, session: DbSession, response: Response
) -> Note:
    """Create a note of the caller."""
    note = Note(owner_id=principal.id, title=data.title)
    session.add(note)
    await session.flush()
{%- if cookiecutter.use_redis %}
    invalidate(session, cache_namespace(principal.id))
{%- endif %}
    response.headers["Location"] = f"/api/v1/test-notes/{note.id}"
    return note


{% if cookiecutter.use_redis -%}
@router.get("", response_model=NoteList)
async def list_notes(user_id: ReaderId, database: DatabaseDep, cache: CacheDep) -> Response:
    """List the caller's notes."""

    async def load() -> str:
        async with database.read_session() as session:
            return (await get_notes(session, user_id)).model_dump_json()

    body = await cache.get_or_load(cache_namespace(user_id), "all", load)
    return Response(body, media_type="application/json")
{%- else -%}
@router.get("")
async def list_notes(principal: Reader, session: ReadSession) -> NoteList:
    """List the caller's notes."""
    return await get_notes(session, principal.id)
{%- endif %}


@router.get("/{note_id}", response_model=NoteRead)
async def read_note(note_id: UUID, principal: Reader, session: ReadSession) -> Note:
    """Return a note of the caller."""
    return await get_note(session, principal.id, note_id)


@router.patch("/{note_id}", response_model=NoteRead)
async def update_note(
    note_id: UUID, data: NoteWrite, principal: Writer, session: DbSession
) -> Note:
    """Change a note of the caller."""
    note = await get_note(session, principal.id, note_id)
    note.title = data.title
    await session.flush()
{%- if cookiecutter.use_redis %}
    invalidate(session, cache_namespace(principal.id))
{%- endif %}
    return note


def mount(app: FastAPI) -> FastAPI:
    """Add the routes to the application."""
    app.include_router(router, responses=api.RESPONSES)
    return app
