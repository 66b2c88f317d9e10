"""Migrations of data between revisions of the template."""

import asyncio

from alembic import command
from orders.auth.models import LoginSession, Role, User
from orders.database import Database, utcnow
from sqlalchemy import select
from support import NewDatabase, alembic_config, new_user, settings_for


async def test_downgrade_grants_no_scopes(new_database: NewDatabase) -> None:
    async with new_database() as url:
        settings = settings_for(url)
        async with Database(settings) as database:
            async with database.write_session() as session:
                user, service = new_user(), new_user(role=Role.SERVICE)
                session.add_all([user, service])
                await session.flush()
                session.add_all(
                    LoginSession(user_id=account.id, scope=scope, expires_at=utcnow())
                    for account, scope in (
                        (user, None),
                        (user, "account:read"),
                        (service, "users:admin"),
                    )
                )

            # The revision before scopes and service accounts.
            await asyncio.to_thread(command.downgrade, alembic_config(settings), "5d1c8f3ae972")

            async with database.read_session() as session:
                users = await session.execute(select(User.role, User.is_active))
                logins = await session.scalars(
                    select(LoginSession.user_id).where(LoginSession.revoked_at.is_(None))
                )
                assert set(users) == {(Role.USER, True), (Role.USER, False)}
                assert logins.all() == [user.id]
