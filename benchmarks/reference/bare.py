"""What FastAPI and SQLAlchemy's ORM do by themselves, written the plain way: the yardstick.

The tables and the rows are those of a render, and so are the answers. There is no middleware and no
access log, and a login is a token and nothing else.
"""

import os
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

import bcrypt
import jwt
from fastapi import Depends, FastAPI, Form, HTTPException, Query
from fastapi.concurrency import run_in_threadpool
from fastapi.security import OAuth2PasswordBearer
from models import Item, User, now
from pydantic import BaseModel, ConfigDict
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import selectinload

SECRET = os.environ["SECRET_KEY"]
engine = create_async_engine(
    os.environ["DATABASE_URL"]
    .replace("postgresql:", "postgresql+asyncpg:")
    .replace("sslmode=", "ssl="),
    pool_size=int(os.environ["DATABASE_POOL_SIZE"]),
    max_overflow=0,
)
sessions = async_sessionmaker(engine, expire_on_commit=False)
app = FastAPI()


class Health(BaseModel):
    """The process answers."""

    status: str


class Token(BaseModel):
    """A login."""

    access_token: str
    token_type: str = "bearer"  # noqa: S105


class UserRead(BaseModel):
    """An account as it is shown."""

    model_config = ConfigDict(from_attributes=True)
    id: UUID
    email: str
    full_name: str | None
    role: str
    is_active: bool
    created_at: datetime
    updated_at: datetime


class TagRead(BaseModel):
    """A word as it is shown."""

    model_config = ConfigDict(from_attributes=True)
    name: str


class ItemCreate(BaseModel):
    """A new item."""

    title: str
    description: str | None = None


class ItemRead(BaseModel):
    """An item as it is shown."""

    model_config = ConfigDict(from_attributes=True)
    id: UUID
    title: str
    description: str | None
    tags: list[TagRead]
    created_at: datetime
    updated_at: datetime


class Items(BaseModel):
    """A page."""

    items: list[ItemRead]


async def get_session() -> AsyncIterator[AsyncSession]:
    """A session for a request."""
    async with sessions() as session:
        yield session


Session = Annotated[AsyncSession, Depends(get_session)]
Bearer = Annotated[str, Depends(OAuth2PasswordBearer(tokenUrl="token"))]


async def current_user(session: Session, token: Bearer) -> User:
    """The caller."""
    try:
        claims = jwt.decode(token, SECRET, algorithms=["HS256"])
    except jwt.PyJWTError:
        raise HTTPException(401) from None
    user = await session.get(User, UUID(claims["sub"]))
    if user is None or not user.is_active:
        raise HTTPException(401)
    return user


CurrentUser = Annotated[User, Depends(current_user)]


@app.get("/health")
async def health() -> Health:
    """Whether the process answers."""
    return Health(status="ok")


@app.post("/token")
async def log_in(
    username: Annotated[str, Form()], password: Annotated[str, Form()], session: Session
) -> Token:
    """Exchange a password for a token."""
    user = await session.scalar(select(User).where(User.email == username))
    await session.commit()
    if user is None or not await run_in_threadpool(
        bcrypt.checkpw, password.encode(), user.password_hash.encode()
    ):
        raise HTTPException(401)
    claims = {"sub": str(user.id), "exp": now() + timedelta(hours=1)}
    return Token(access_token=jwt.encode(claims, SECRET, algorithm="HS256"))


@app.get("/users/me", response_model=UserRead)
async def read_me(user: CurrentUser) -> User:
    """The caller's account."""
    return user


@app.get("/items", response_model=Items)
async def list_items(
    session: Session, user: CurrentUser, limit: Annotated[int, Query(ge=1, le=100)] = 20
) -> dict[str, Any]:
    """The caller's items, the newest first."""
    query = (
        select(Item)
        .where(Item.owner_id == user.id)
        .order_by(Item.created_at.desc())
        .limit(limit)
        .options(selectinload(Item.tags))
    )
    return {"items": (await session.scalars(query)).all()}


@app.post("/items", status_code=201, response_model=ItemRead)
async def create_item(data: ItemCreate, session: Session, user: CurrentUser) -> Item:
    """Make an item of the caller."""
    item = Item(owner_id=user.id, title=data.title, description=data.description, tags=[])
    session.add(item)
    await session.commit()
    return item
