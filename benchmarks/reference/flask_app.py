"""The same four requests by Flask and SQLAlchemy's ORM on psycopg, written the plain way."""

import os
from typing import Any
from uuid import UUID

import jwt
from flask import Flask, abort, request
from models import Item, User
from sqlalchemy import create_engine, select
from sqlalchemy.orm import Session, selectinload, sessionmaker

SECRET = os.environ["SECRET_KEY"]
engine = create_engine(
    os.environ["DATABASE_URL"].replace("postgresql:", "postgresql+psycopg:"),
    pool_size=int(os.environ["DATABASE_POOL_SIZE"]),
    max_overflow=0,
)
sessions = sessionmaker(engine, expire_on_commit=False)
app = Flask(__name__)


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
