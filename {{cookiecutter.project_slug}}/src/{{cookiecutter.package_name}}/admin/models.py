"""What the pages read. A column that is not selected here is on no page and in no export."""

from sqlalchemy import case, select
from sqlalchemy.orm import DeclarativeBase

from ..auth import models as auth


class ReadModel(DeclarativeBase):
    """Base of the pages' own models: they are queries, and nothing is written through them."""


class User(ReadModel):
    """An account, without its password hash."""

    __table__ = select(
        auth.User.id,
        auth.User.email,
        auth.User.full_name,
        auth.User.role,
        auth.User.is_active,
        auth.User.created_at,
        auth.User.updated_at,
    ).subquery("shown_users")


class LoginSession(ReadModel):
    """A login and whose it is, without the hash of its cookie."""

    __table__ = (
        select(
            auth.LoginSession.id,
            auth.User.email,
            case((auth.LoginSession.cookie_hash.is_(None), "token"), else_="cookie").label("kind"),
            auth.LoginSession.address,
            auth.LoginSession.user_agent,
            auth.LoginSession.created_at,
            auth.LoginSession.expires_at,
            auth.LoginSession.revoked_at.is_not(None).label("revoked"),
        )
        .join(auth.User, auth.User.id == auth.LoginSession.user_id)
        .subquery("shown_logins")
    )
