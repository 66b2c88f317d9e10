"""Notes: a resource that only tests have, so that tests of the core need no domain."""

from datetime import datetime
{%- if cookiecutter.use_redis %}
from typing import Annotated, Literal
{%- else %}
from typing import Annotated, Any, Literal
{%- endif %}
from uuid import UUID

from fastapi import APIRouter, FastAPI, Query, Response
from sqlalchemy import ForeignKey, Index, MetaData, String, bindparam, select
from sqlalchemy.orm import Mapped, mapped_column

from {{ cookiecutter.package_name }} import api, database
{%- if cookiecutter.use_redis %}
from {{ cookiecutter.package_name }}.auth.dependencies import (
    CurrentUser,
    CurrentUserId,
)
from {{ cookiecutter.package_name }}.cache.store import (
    RequestCache,
    cached,
    forget,
)
{%- else %}
from {{ cookiecutter.package_name }}.auth.dependencies import CurrentUser
{%- endif %}
from {{ cookiecutter.package_name }}.errors import Problem, problems
from {{ cookiecutter.package_name }}.pagination import (
    Page,
    PageQuery,
    paginate,
    shown,
)
from {{ cookiecutter.package_name }}.schemas import Input, Line, Output
from {{ cookiecutter.package_name }}.users.models import User

router = APIRouter(prefix="/notes", responses=problems(401))


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


class NoteWrite(Input):
    """A note as its owner sends it."""

    title: Line


class NoteQuery(PageQuery):
    """The order of the list of notes."""

    sort: Literal["created_at", "-created_at", "title", "-title"] = "-created_at"


class NoteRead(Output):
    """A note as its owner sees it."""

    id: UUID
    title: str
    created_at: datetime
    updated_at: datetime


NOTES = select(*shown(Note, NoteRead)).where(Note.owner_id == bindparam("owner_id"))
NOTE = NOTES.where(Note.id == bindparam("note_id"))

{% if cookiecutter.use_redis %}
def namespace(owner_id: UUID) -> str:
    """The part of the cache that holds an owner's notes."""
    return f"notes:{owner_id}"


@cached(Page[NoteRead], namespace=namespace, key=NoteQuery.model_dump_json)
async def page_of(reader: database.Reader, owner_id: UUID, page: NoteQuery) -> Page[NoteRead]:
    """A page of the owner's notes."""
    notes, next_cursor = await paginate(reader, NOTES, page, owner_id=owner_id)
    return Page[NoteRead].model_validate({"items": notes, "next_cursor": next_cursor})


@cached(NoteRead | None, namespace=namespace, key=str)
async def note_of(reader: database.Reader, owner_id: UUID, note_id: UUID) -> NoteRead | None:
    """One note of the owner, or None if there is none."""
    note = await reader.row(NOTE, owner_id=owner_id, note_id=note_id)
    return NoteRead.model_validate(note) if note is not None else None

{% endif %}
@router.post("", status_code=201, response_model=NoteRead)
async def create_note(
    data: NoteWrite, user: CurrentUser, session: database.Session, response: Response
) -> Note:
    """Create a note of the caller."""
    note = Note(owner_id=user.id, title=data.title)
    session.add(note)
    await session.flush()
{%- if cookiecutter.use_redis %}
    forget(session, namespace(user.id))
{%- endif %}
    response.headers["Location"] = f"/api/v1/notes/{note.id}"
    return note

{% if cookiecutter.use_redis %}
@router.get("")
async def list_notes(
    page: Annotated[NoteQuery, Query()],
    user_id: CurrentUserId,
    reader: database.Reading,
    cache: RequestCache,
) -> Page[NoteRead]:
    """List the caller's notes."""
    return (await page_of(cache, reader, user_id, page)).value


@router.get("/{note_id}")
async def read_note(
    note_id: UUID, user_id: CurrentUserId, reader: database.Reading, cache: RequestCache
) -> NoteRead:
    """Read a note of the caller."""
    note = (await note_of(cache, reader, user_id, note_id)).value
    if note is None:
        raise Problem(404, "Note not found.")
    return note
{%- else %}
@router.get("", response_model=Page[NoteRead])
async def list_notes(
    page: Annotated[NoteQuery, Query()], user: CurrentUser, reader: database.Reading
) -> dict[str, Any]:
    """List the caller's notes."""
    notes, next_cursor = await paginate(reader, NOTES, page, owner_id=user.id)
    return {"items": notes, "next_cursor": next_cursor}


@router.get("/{note_id}", response_model=NoteRead)
async def read_note(note_id: UUID, user: CurrentUser, reader: database.Reading) -> database.Record:
    """Read a note of the caller."""
    note = await reader.row(NOTE, owner_id=user.id, note_id=note_id)
    if note is None:
        raise Problem(404, "Note not found.")
    return note
{%- endif %}


@router.patch("/{note_id}", response_model=NoteRead)
async def update_note(
    note_id: UUID, data: NoteWrite, user: CurrentUser, session: database.Session
) -> Note:
    """Change a note of the caller."""
    note = await session.scalar(select(Note).where(Note.id == note_id, Note.owner_id == user.id))
    if note is None:
        raise Problem(404, "Note not found.")
    note.title = data.title
    await session.flush()
{%- if cookiecutter.use_redis %}
    forget(session, namespace(user.id))
{%- endif %}
    return note


def mount(app: FastAPI) -> FastAPI:
    """Add the routes to the application."""
    app.include_router(router, prefix="/api/v1", responses=api.RESPONSES)
    return app
