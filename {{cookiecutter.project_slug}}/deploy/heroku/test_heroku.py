"""Check the files for Heroku against the application.

Keys and values: https://devcenter.heroku.com/articles/app-json-schema
"""

import json
import re
{%- if cookiecutter.use_redis %}
import subprocess
import sys
{%- endif %}
from typing import Any

{% if cookiecutter.use_redis -%}
import pytest
from redis.asyncio import ConnectionPool

{% endif -%}
from deployment_checks import COMMANDS, ROOT, Process, problems, read_image

APP: dict[str, Any] = json.loads((ROOT / "app.json").read_text(encoding="utf-8"))
# Set by Heroku, the buildpack and the add-ons.
GIVEN = {
    "PORT": "47611",
    "WEB_CONCURRENCY": "2",
    "DATABASE_URL": None,
{%- if cookiecutter.use_redis %}
    "REDIS_URL": None,
{%- endif %}
}
KILLED_AFTER = 30  # seconds, https://devcenter.heroku.com/articles/dyno-shutdown-behavior
SIZES = {"basic", "standard-1x", "standard-2x", "performance-m", "performance-l"}


def procfile() -> dict[str, str]:
    """Return the commands by process type."""
    lines = (ROOT / "Procfile").read_text(encoding="utf-8").splitlines()
    return {name: command for name, _, command in (line.partition(": ") for line in lines)}


def profile() -> dict[str, str]:
    """Return the exports of .profile, without config vars of the same name."""
    text = (ROOT / ".profile").read_text(encoding="utf-8")
    exports = re.findall(r"^export (\w+)=(\S+)", text, re.MULTILINE)
    return {name: re.sub(rf'^"\${{ '{{' }}{name}:-(.+)}}"$', r"\1", value) for name, value in exports}


def processes() -> list[Process]:
    """Return every process with all its variables."""
    config = {name: one.get("value") for name, one in APP["env"].items()}
    set_by_code = {k: v for k, v in profile().items() if k != "PGSSLMODE"}  # the driver's
    return [
        Process(
            name="migrate" if name == "release" else name,
            variables=GIVEN | config | set_by_code,
            command=tuple(command.split()),
            stop_seconds=None if name == "release" else KILLED_AFTER,
        )
        for name, command in procfile().items()
    ]


def test_processes_match_the_application() -> None:
    assert [problem for one in processes() for problem in problems(one)] == []
    assert {one.name for one in processes()} == {"migrate", *COMMANDS}


def test_connections_are_encrypted() -> None:
    assert profile()["PGSSLMODE"] == "require"
{%- if cookiecutter.use_redis %}


@pytest.mark.skipif(sys.platform == "win32", reason="a script for a POSIX shell")
@pytest.mark.parametrize("scheme", ["redis", "rediss"])
def test_certificate_of_redis_is_not_verified(scheme: str) -> None:
    given = f"{scheme}://:password@host:6379"
    command = ["sh", "-c", '. ./.profile && printf %s "$REDIS_URL"']
    url = subprocess.check_output(command, cwd=ROOT, env={"REDIS_URL": given}, text=True)  # noqa: S603

    pool = ConnectionPool.from_url(url)
    pool.connection_class(**pool.connection_kwargs)  # raises for an option that it does not know
    assert pool.connection_kwargs.get("ssl_cert_reqs") == ("none" if scheme == "rediss" else None)
{%- endif %}


def test_only_the_routers_may_forward_client_addresses() -> None:
    assert profile()["FORWARDED_ALLOW_IPS"] == "10.0.0.0/8"


def test_app_json_has_keys_that_heroku_knows() -> None:
    assert set(APP) == {"name", "description", "buildpacks", "addons", "formation", "env"}
    assert APP["buildpacks"] == [{"url": "heroku/python"}]
    assert set(APP["formation"]) == set(procfile()) - {"release"}
    for formation in APP["formation"].values():
        assert set(formation) == {"quantity", "size"}
        assert formation["quantity"] > 0
        assert formation["size"] in SIZES
    for variable in APP["env"].values():
        assert "description" in variable
        assert set(variable) - {"description"} in ({"value"}, {"generator"}, {"required"})
        assert variable.get("generator", "secret") == "secret"
        assert variable.get("required", True) is True


def test_readme_sets_up_the_same_app() -> None:
    readme = (ROOT / "deploy" / "heroku" / "README.md").read_text(encoding="utf-8")
    services = {
        "heroku-postgresql",
{%- if cookiecutter.use_redis %}
        "heroku-redis",
{%- endif %}
    }
    assert {addon.partition(":")[0] for addon in APP["addons"]} == services
    assert sorted(re.findall(r"addons:create (\S+)", readme)) == sorted(APP["addons"])
    [config] = re.findall(r"heroku config:set (.+)", readme)
    assert set(re.findall(r"(\w+)=", config)) == set(APP["env"])
    for name, formation in APP["formation"].items():
        assert f"{name}={formation['quantity']}:{formation['size']}" in readme


def test_python_is_that_of_the_image() -> None:
    assert (ROOT / ".python-version").read_text(encoding="utf-8").strip() == read_image().python
