"""Every distinct application: its own checks, its migrations, and requests over HTTP."""

import json
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import distributions
from pathlib import Path
from urllib.parse import urljoin

import httpx2
import pytest

from conftest import Render
from ecs import SCHEMA
from harness import (
    API,
    Application,
    Service,
    clean_environ,
    environ,
    log_in,
    program,
    register,
    requirements,
    run,
    serve,
    serve_command,
    uv,
    wait_for,
)
from questions import MIN_AND_MAX, TEMPLATE, Answers, label, min_max_configurations
from rendering import load_hook


@pytest.fixture(scope="module")
def app(configuration: Answers, make_application: Callable[[Answers], Application]) -> Application:
    """Each application in turn."""
    return make_application(configuration)


@pytest.fixture(scope="module")
def service(app: Application, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The application as a running service."""
    env = app.settings(BCRYPT_ROUNDS="6")
    app.run("alembic", "upgrade", "head", **env)
    with serve(app.folder, env, tmp_path_factory.mktemp("service") / "log") as service:
        yield service


@pytest.fixture
def client(service: Service) -> Iterator[httpx2.Client]:
    """A client with a cookie jar of its own."""
    with service.client() as client:
        yield client


# The project's own checks


@pytest.mark.thorough
def test_own_tests_pass_with_the_required_coverage(
    app: Application, configuration: Answers, record_property: Callable[[str, object], None]
) -> None:
    if configuration in MIN_AND_MAX:
        pytest.skip("test_resource_applications.py runs them, with resources")
    said = app.run("poe", "--executor", "simple", "coverage")

    [passed] = re.findall(r"(\d+) passed", said)
    record_property("executed", int(passed))


def test_codes_of_second_factors_are_those_of_oathtool(render: Render, environment: Path) -> None:
    program("oathtool", "oathtool")
    project = render(database="sqlite")
    command = [str(environment / "bin" / "python"), "-m", "pytest", "-q", "-k", "oathtool"]

    said = run(
        [*command, "tests/auth/test_second_factor.py"],
        cwd=project,
        env=environ(project, environment),
    )

    assert "1 passed" in said


@pytest.mark.slow
def test_types_are_clean(app: Application) -> None:
    app.run("poe", "--executor", "simple", "types")


def test_lint_is_clean(app: Application) -> None:
    app.run("poe", "--executor", "simple", "lint")


@pytest.mark.slow
def test_migrations_are_reversible_and_match_the_models(app: Application) -> None:
    commands = ("upgrade head", "downgrade base", "upgrade head", "check", "upgrade head --sql")
    program = "import sys\nfrom alembic.config import main\n"
    program += "for command in sys.argv[1:]:\n    main(command.split())"

    said = app.run("python", "-c", program, *commands, **app.settings())

    assert "CREATE TABLE" in said


@pytest.mark.thorough
@pytest.mark.parametrize("answers", MIN_AND_MAX, ids=label)
def test_project_passes_its_checks_with_its_locked_dependencies(
    answers: Answers, render: Render
) -> None:
    with tempfile.TemporaryDirectory() as temporary:  # see Server
        # As root, PostgreSQL runs as another user, which needs access to its programs in .venv.
        Path(temporary).chmod(0o755)
        folder = shutil.copytree(render(**answers), Path(temporary) / "project")
        env = clean_environ(folder) | {"UV_PYTHON": sys.executable}
        run([uv(), "sync", "--quiet"], cwd=folder, env=env)
        run([uv(), "run", "--locked", "poe", "check"], cwd=folder, env=env)


def test_modules_of_the_tests_are_reserved() -> None:
    modules = {
        path.stem for path in (TEMPLATE / "{{cookiecutter.project_slug}}" / "tests").glob("*.py")
    }

    reserved = load_hook("pre_gen_project").RESERVED_NAMES
    assert {name for name in modules if not name.startswith("test_")} <= reserved


def test_names_of_dependencies_are_reserved(environment: Path, render: Render) -> None:
    reserved = load_hook("pre_gen_project").RESERVED_NAMES
    lines = set[str]().union(
        *(requirements(render(**answers)) for answers in min_max_configurations())
    )
    direct = {normal(re.split(r"[^\w.-]", line)[0]) for line in lines}

    [packages] = (environment / "lib").glob("python3*/site-packages")
    for distribution in distributions(path=[str(packages)]):
        name = normal(distribution.metadata["Name"])
        if name in direct:
            modules = {
                file.parts[0].removesuffix(".py")
                for file in distribution.files or []
                if file.name == "__init__.py" or (len(file.parts) == 1 and file.suffix == ".py")
            }
            commands = {
                normal(entry.name)
                for entry in distribution.entry_points
                if entry.group == "console_scripts"
            }
            names = {name, *modules, *commands}
            assert {one for one in names if one.isidentifier() and one[0] != "_"} <= reserved, name


def normal(name: str) -> str:
    """Return the name of a distribution or command in the form that the hook compares."""
    return re.sub(r"[-_.]+", "_", name).lower()


# Starting and stopping


@pytest.mark.parametrize("configuration", min_max_configurations(), ids=label, scope="module")
def test_production_rejects_a_placeholder_secret(app: Application) -> None:
    env = app.settings(ENVIRONMENT="production", SECRET_KEY="change-me")
    done = subprocess.run(
        serve_command(app.folder, env), cwd=app.folder, env=env, capture_output=True, check=False
    )

    assert done.returncode == 1
    assert b"SECRET_KEY" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.thorough(but=MIN_AND_MAX)
@pytest.mark.parametrize("configuration", min_max_configurations(), ids=label, scope="module")
@pytest.mark.parametrize("processes", [1, 2])
def test_sigterm_finishes_the_running_request_and_exits_with_0(
    app: Application, tmp_path: Path, processes: int
) -> None:
    env = app.settings(WEB_CONCURRENCY=str(processes))
    app.run("alembic", "upgrade", "head", **env)
    body = json.dumps({"email": "ada@example.com", "password": secrets.token_hex(12)}).encode()
    head = (
        f"POST {API}/users HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n"
    )
    with serve(app.folder, env, tmp_path / "log") as service:
        address = ("127.0.0.1", httpx2.URL(service.url).port or 0)
        with socket.create_connection(address, timeout=60) as connection:
            connection.sendall(head.encode())
            # The application handles the request and waits for its body.
            assert connection.recv(100).startswith(b"HTTP/1.1 100")
            service.process.send_signal(signal.SIGTERM)
            deadline = time.monotonic() + 120
            # With several processes, the parent keeps the socket open until they finish.
            while service.log.read_text("utf-8").count("Shutting down") < processes or (
                processes == 1 and is_listening(address)
            ):
                assert time.monotonic() < deadline
            connection.sendall(body)
            assert connection.recv(100).startswith(b"HTTP/1.1 202")
        assert service.process.wait(timeout=60) == 0


def is_listening(address: tuple[str, int]) -> bool:
    """Return whether a new connection is accepted."""
    with socket.socket() as connection:
        return connection.connect_ex(address) == 0


# Over HTTP


def refresh(client: httpx2.Client, token: str) -> httpx2.Response:
    """Request tokens with a refresh token."""
    form = {"grant_type": "refresh_token", "refresh_token": token}
    return client.post(f"{API}/auth/token", data=form)


@pytest.fixture
def member(client: httpx2.Client) -> httpx2.Client:
    """A client that sends an account's access token."""
    token = log_in(client, register(client)).json()["access_token"]
    client.headers["Authorization"] = f"Bearer {token}"
    return client


def is_problem(response: httpx2.Response, status: int) -> bool:
    """Return whether a response is a problem (RFC 9457) with this status and the request id."""
    body = response.json()
    return (
        response.status_code == body["status"] == status
        and response.headers["Content-Type"] == "application/problem+json"
        and {"type", "title"} <= set(body)
        and body["request_id"] == response.headers["X-Request-ID"]
    )


def test_user_registers_logs_in_and_reads_the_account(client: httpx2.Client) -> None:
    account = register(client)
    tokens = log_in(client, account)
    assert tokens.headers["Cache-Control"] == "no-store"
    assert tokens.json().keys() == {
        "access_token",
        "token_type",
        "expires_in",
        "refresh_token",
        "scope",
    }

    bearer = {"Authorization": f"Bearer {tokens.json()['access_token']}"}
    me = client.get(f"{API}/users/me", headers=bearer)
    assert me.status_code == 200
    assert (me.json()["email"], me.json()["role"]) == (account["email"], "user")
    again = client.post(f"{API}/users", json=account)
    assert (again.status_code, again.json()) == (202, {"email": account["email"]})


def test_reused_refresh_token_revokes_its_family(client: httpx2.Client) -> None:
    first = log_in(client, register(client)).json()["refresh_token"]
    second = refresh(client, first)
    assert second.status_code == 200

    reused = refresh(client, first)
    assert (reused.status_code, reused.json()["error"]) == (400, "invalid_grant")
    assert refresh(client, second.json()["refresh_token"]).status_code == 400


def test_revoked_refresh_token_is_rejected(client: httpx2.Client) -> None:
    token = log_in(client, register(client)).json()["refresh_token"]

    assert client.post(f"{API}/auth/revoke", data={"token": token}).status_code == 200
    assert refresh(client, token).status_code == 400
    assert client.post(f"{API}/auth/revoke", data={"token": "unknown"}).status_code == 200


def test_browser_session_needs_a_csrf_token_for_changes(client: httpx2.Client) -> None:
    account = register(client)
    assert client.post(f"{API}/auth/session", json=account).status_code == 201
    proof = {"X-CSRF-Token": client.cookies["csrf"], "Origin": str(client.base_url)}

    assert client.get(f"{API}/users/me").status_code == 200
    item = {"title": "Cookie"}
    assert is_problem(client.post(f"{API}/items", json=item), 403)
    foreign = proof | {"Origin": "https://example.net"}
    assert is_problem(client.post(f"{API}/items", json=item, headers=foreign), 403)
    guessed = proof | {"X-CSRF-Token": "guessed"}
    assert is_problem(client.post(f"{API}/items", json=item, headers=guessed), 403)
    assert client.post(f"{API}/items", json=item, headers=proof).status_code == 201
    assert client.delete(f"{API}/auth/session", headers=proof).status_code == 204
    assert client.get(f"{API}/users/me").status_code == 401


def test_item_is_created_read_updated_and_deleted(member: httpx2.Client) -> None:
    made = member.post(f"{API}/items", json={"title": "Tea", "tags": ["green", "hot"]})
    assert made.status_code == 201
    url, etag = made.headers["Location"], made.headers["ETag"]

    read = member.get(url)
    assert (read.headers["ETag"], sorted(read.json()["tags"])) == (etag, ["green", "hot"])
    assert member.get(url, headers={"If-None-Match": etag}).status_code == 304
    changed = member.patch(url, json={"title": "Coffee"}, headers={"If-Match": etag})
    assert (changed.status_code, changed.json()["title"]) == (200, "Coffee")
    assert is_problem(member.patch(url, json={"title": "Milk"}, headers={"If-Match": etag}), 412)
    assert is_problem(member.delete(url, headers={"If-Match": etag}), 412)
    assert member.delete(url, headers={"If-Match": changed.headers["ETag"]}).status_code == 204
    assert is_problem(member.get(url), 404)


def test_items_are_paged_filtered_and_private(member: httpx2.Client, service: Service) -> None:
    for number in range(5):
        tags = ["odd"] if number % 2 else []
        member.post(f"{API}/items", json={"title": f"Item {number}", "tags": tags})

    titles, cursor = [], None
    for _ in range(3):
        query = {"limit": "2", "sort": "title"} | ({"cursor": cursor} if cursor else {})
        page = member.get(f"{API}/items", params=query).json()
        titles += [item["title"] for item in page["items"]]
        cursor = page["next_cursor"]
    assert titles == [f"Item {number}" for number in range(5)]
    assert cursor is None
    odd = member.get(f"{API}/items", params={"tag": "odd", "q": "3"}).json()["items"]
    assert [item["title"] for item in odd] == ["Item 3"]

    with service.client() as other:
        token = log_in(other, register(other)).json()["access_token"]
        bearer = {"Authorization": f"Bearer {token}"}
        assert is_problem(other.get(f"{API}/items/{odd[0]['id']}", headers=bearer), 404)
        assert other.get(f"{API}/items", headers=bearer).json()["items"] == []


def test_every_error_is_a_problem_document(client: httpx2.Client) -> None:
    assert is_problem(client.get("/nowhere"), 404)
    assert is_problem(client.put(f"{API}/users"), 405)
    assert is_problem(client.post(f"{API}/users", json={"email": "ada"}), 422)
    assert is_problem(client.post(f"{API}/users", content=b"x" * 3_000_000), 413)
    missing = client.get(f"{API}/users/me")
    assert is_problem(missing, 401)
    assert missing.headers["WWW-Authenticate"].startswith("Bearer")
    assert is_problem(client.get(f"{API}/users", headers={"Authorization": "Bearer x"}), 401)


def test_health_checks_are_not_in_the_openapi_description(client: httpx2.Client) -> None:
    for probe in ("live", "ready"):
        assert client.get(f"/health/{probe}").json()["status"] == "ok"

    description = client.get("/openapi.json").json()
    assert f"{API}/items" in description["paths"]
    assert not [path for path in description["paths"] if "health" in path]


@pytest.mark.parametrize("page", ["/docs", "/redoc"])
def test_documentation_loads_nothing_from_other_hosts(page: str, client: httpx2.Client) -> None:
    shown = client.get(page)

    assert shown.status_code == 200
    assert "default-src 'none'" in shown.headers["Content-Security-Policy"]
    assets = re.findall(r"<(?:script|link)[^>]+(?:src|href)=.([^'\"]+)", shown.text)
    assert assets
    for asset in assets:
        assert client.get(urljoin(page, asset)).status_code == 200


def test_log_contains_the_request_without_secrets(client: httpx2.Client, service: Service) -> None:
    account = register(client)
    answer = log_in(client, account)

    # The line is written after the response.
    wait_for(lambda: answer.headers["X-Request-ID"] in service.log.read_text("utf-8"), 60)
    log = service.log.read_text("utf-8")
    assert account["password"] not in log
    assert answer.json()["access_token"] not in log
    assert answer.json()["refresh_token"] not in log


def test_log_fields_follow_the_elastic_common_schema(
    client: httpx2.Client, service: Service
) -> None:
    account = register(client)
    log_in(client, account | {"password": "wrong"})
    log_in(client, account)
    client.get(f"{API}/nowhere")

    types = {"date": str, "long": int, "object": dict}
    written = service.log.read_text("utf-8").rpartition("\n")[0]
    lines = [json.loads(line) for line in written.splitlines()]
    assert len(lines) > 3
    for line in lines:
        for name, value in line.items():
            assert type(value) is types.get(SCHEMA[name], str), line
        for value in line.get("labels", {}).values():
            assert not isinstance(value, dict), line


# Under load


@pytest.mark.thorough
@pytest.mark.parametrize("configuration", min_max_configurations(), ids=label, scope="module")
def test_load_scenario_fails_no_request(app: Application, service: Service, tmp_path: Path) -> None:
    page = (TEMPLATE / "docs" / "how-to" / "load-testing.md").read_text("utf-8")
    scenario = tmp_path / "locustfile.py"
    scenario.write_text(re.findall(r"```python\n(.+?)```", page, re.DOTALL)[0], "utf-8")
    people = ["--headless", "--users", "20", "--spawn-rate", "20", "--run-time", "10s"]
    command = [uv(), "tool", "run", "--quiet", "locust>=2.47,<3", "--host", service.url]
    command += ["--locustfile", str(scenario)]
    said = app.run(*command, *people, "--json", UV_PYTHON=sys.executable)

    requests = {one["name"].removeprefix(API): one for one in json.loads(said)}
    assert requests.keys() == {
        "/users",
        "/auth/token",
        "/users/me",
        "/auth/sessions",
    }
    assert all(one["num_requests"] and not one["num_failures"] for one in requests.values())
