"""Authlib and oauthlib get access tokens from a running service without any adaptation."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from harness import Application, log_in, run, serve, shared_environment
from questions import Answers

CLIENTS = (
    "authlib>=1.9,<2",
    "oauthlib>=4,<5",
    "requests>=2.34,<3",
    "requests-oauthlib>=2,<3",
)
SCRIPT = Path(__file__).parent / "oauth_clients.py"
ADMIN = {"email": "ada@example.com", "password": "analytical-engine-1843"}


@pytest.mark.slow
def test_standard_clients_get_access_tokens(
    make_application: Callable[[Answers], Application], tmp_path: Path
) -> None:
    answers = {"use_redis": False, "use_worker": False, "use_admin": False}
    app = make_application({"database": "sqlite", **answers})
    settings = app.settings(BCRYPT_ROUNDS="4")
    app.run("alembic", "upgrade", "head", **settings)
    email, password = ADMIN.values()
    command = ("python", "-m", "orders.cli", "create-admin", email, "--password", password)
    app.run(*command, **settings)

    with (
        serve(app.folder, settings, tmp_path / "log") as service,
        service.client() as client,
    ):
        token = log_in(client, ADMIN).json()["access_token"]
        python = shared_environment(CLIENTS) / "bin" / "python"
        env = {**settings, "OAUTHLIB_INSECURE_TRANSPORT": "1", "NO_PROXY": "127.0.0.1"}
        results = json.loads(
            run([str(python), str(SCRIPT), service.url, token], cwd=tmp_path, env=env)
        )

    assert results
    assert all(results.values()), results
