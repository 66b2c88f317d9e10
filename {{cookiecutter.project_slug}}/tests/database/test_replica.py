"""Read-only routes on a replica: here a second database, which lags behind for ever."""

from {{ cookiecutter.package_name }}.main import create_app

from support import NewDatabase, new_account, settings_for


async def test_read_only_routes_use_the_replica(new_database: NewDatabase) -> None:
    async with new_database() as primary, new_database() as replica:
        app = create_app(settings_for(primary, database_read_url=replica))
        async with app.router.lifespan_context(app):
            account = await new_account(app)

            own = await account.client.get("/api/v1/users/me")
            sessions = await account.client.get("/api/v1/auth/sessions")

    assert own.json()["id"] == str(account.id)
    assert sessions.json() == []
