"""What the pages read. A column that is not selected here is on no page and in no export."""

from sqlalchemy import case, select
from sqlalchemy.orm import DeclarativeBase

from ..auth import models as auth
{%- if cookiecutter.use_worker %}
from ..worker import models as worker
{%- endif %}


class Shown(DeclarativeBase):
    """Base of the pages' own models: they are queries, and nothing is written through them."""


class User(Shown):
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


class LoginSession(Shown):
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


{%- if cookiecutter.use_worker %}


class Job(Shown):
    """A job and who asked for it, without its arguments."""

    __table__ = (
        select(
            worker.Job.id,
            worker.Job.task,
            worker.Job.state,
            worker.Job.attempts,
            worker.Job.error_type,
            worker.Job.request_id,
            auth.User.email,
            worker.Job.created_at,
            worker.Job.due_at,
            worker.Job.started_at,
            worker.Job.finished_at,
        )
        .join(auth.User, auth.User.id == worker.Job.user_id, isouter=True)
        .subquery("shown_jobs")
    )
{%- endif %}
