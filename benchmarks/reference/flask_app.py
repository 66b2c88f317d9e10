"""The same four requests by Flask and SQLAlchemy's ORM on psycopg, written the plain way."""

import os
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import jwt
from flask import Flask, abort, request
from sqlalchemy import Column, DateTime, ForeignKey, Table, create_engine, select
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    mapped_column,
    relationship,
    selectinload,
    sessionmaker,
)

SECRET = os.environ["SECRET_KEY"]
engine = create_engine(
    os.environ["DATABASE_URL"].replace("postgresql:", "postgresql+psycopg:"),
    pool_size=int(os.environ["DATABASE_POOL_SIZE"]),
    max_overflow=0,
)
sessions = sessionmaker(engine, expire_on_commit=False)
app = Flask(__name__)


def now() -> datetime:
    """The present."""
    return datetime.now(UTC)


class Base(DeclarativeBase):
    """Base of the models."""

    type_annotation_map = {datetime: DateTime(timezone=True)}  # noqa: RUF012


class User(Base):
    """An account."""

    __tablename__ = "users"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    email: Mapped[str]
    full_name: Mapped[str | None]
    role: Mapped[str]
    is_active: Mapped[bool]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


item_tags = Table(
    "item_tags",
    Base.metadata,
    Column("item_id", ForeignKey("items.id"), primary_key=True),
    Column("tag_id", ForeignKey("tags.id"), primary_key=True),
)


class Tag(Base):
    """A word."""

    __tablename__ = "tags"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str]


class Item(Base):
    """A thing of a user."""

    __tablename__ = "items"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    owner_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    title: Mapped[str]
    description: Mapped[str | None]
    version: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now)
    tags: Mapped[list[Tag]] = relationship(secondary=item_tags, order_by=Tag.name)


def current_user(session: Session) -> User:
    """The caller."""
    try:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        claims = jwt.decode(token, SECRET, algorithms=["HS256"])
    except jwt.PyJWTError:
        abort(401)
    user = session.get(User, UUID(claims["sub"]))
    if user is None or not user.is_active:
        abort(401)
    return user


def shown(item: Item) -> dict[str, Any]:
    """An item as it is shown."""
    return {
        "id": str(item.id),
        "title": item.title,
        "description": item.description,
        "tags": [{"name": tag.name} for tag in item.tags],
        "created_at": item.created_at.isoformat(),
        "updated_at": item.updated_at.isoformat(),
    }


@app.get("/health")
def health() -> dict[str, str]:
    """Whether the process answers."""
    return {"status": "ok"}


@app.get("/users/me")
def read_me() -> dict[str, Any]:
    """The caller's account."""
    with sessions() as session:
        user = current_user(session)
    return {
        "id": str(user.id),
        "email": user.email,
        "full_name": user.full_name,
        "role": user.role,
        "is_active": user.is_active,
        "created_at": user.created_at.isoformat(),
        "updated_at": user.updated_at.isoformat(),
    }


@app.get("/items")
def list_items() -> dict[str, Any]:
    """The caller's items, the newest first."""
    with sessions() as session:
        query = (
            select(Item)
            .where(Item.owner_id == current_user(session).id)
            .order_by(Item.created_at.desc())
            .limit(request.args.get("limit", 20, type=int))
            .options(selectinload(Item.tags))
        )
        return {"items": [shown(item) for item in session.scalars(query)]}


@app.post("/items")
def create_item() -> tuple[dict[str, Any], int]:
    """Make an item of the caller."""
    data = request.get_json()
    with sessions() as session:
        user = current_user(session)
        item = Item(
            owner_id=user.id, title=data["title"], description=data.get("description"), tags=[]
        )
        session.add(item)
        session.commit()
        return shown(item), 201
