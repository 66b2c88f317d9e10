"""The admin pages in a real browser, for administrators and for other users."""

import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness import Service, serve

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page
else:
    Browser = Page = Any

ADMIN, PASSWORD = "ada@example.com", "analytical-engine-1843"
PEOPLE = {
    "charles": "Charles Babbage",
    "emmy": "Emmy Noether",
    "grace": "Grace Hopper",
    "joan": "Joan Clarke",
    "kurt": "Kurt Gödel",
    "sofja": "Sofja Kowalewskaja",
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The Chromium on PATH, or the one installed by Playwright."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        names = ("chromium", "chromium-browser", "google-chrome")
        found = next(filter(None, map(shutil.which, names)), playwright.chromium.executable_path)
        if not Path(found).exists():
            pytest.skip("there is no Chromium on this machine")
        browser = playwright.chromium.launch(
            executable_path=found,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module", params=["postgresql", "sqlite"])
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A running service with an administrator and some accounts."""
    off = {"use_redis": False, "use_worker": False}
    answers = {"database": request.param, **off, "use_admin": True}
    app = request.getfixturevalue("make_application")(answers)
    settings = app.settings(BCRYPT_ROUNDS="4")
    app.run("alembic", "upgrade", "head", **settings)
    command = ["python", "-m", "orders.cli", "create-admin", ADMIN, "--password", PASSWORD]
    app.run(*command, **settings)
    log = tmp_path_factory.mktemp("admin") / "log"
    with serve(app.folder, settings, log) as service, service.client() as client:
        for name, full_name in PEOPLE.items():
            account = {"email": f"{name}@example.com", "full_name": full_name}
            created = client.post("/api/v1/users", json={**account, "password": PASSWORD})
            assert created.status_code == 202
        yield service


@pytest.fixture
def page(browser: Browser, site: Service) -> Iterator[Page]:
    """A page, which fails the test if it requests other hosts or violates its policy."""
    page = browser.new_page(viewport={"width": 1400, "height": 800}, base_url=site.url)
    page.set_default_timeout(60_000)
    foreign: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: foreign.append(request.url))
    page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
    yield page
    page.close()
    assert [url for url in foreign if not url.startswith((site.url, "data:"))] == []
    # A refusal is a response with status 400, which the console notes.
    refusals = ("verbose:", "error: Failed to load resource: the server responded with a status")
    assert [line for line in complaints if not line.startswith(refusals)] == []


def sign_in(page: Page, email: str, password: str = PASSWORD) -> None:
    """Submit the login form."""
    page.goto("/admin")
    page.fill("[name=username]", email)
    page.fill("[name=password]", password)
    page.click("button[type=submit]")
    page.wait_for_load_state()


def test_administrator_finds_and_changes_an_account(page: Page, site: Service) -> None:
    sign_in(page, ADMIN)
    assert page.locator("tbody tr").count() == len(PEOPLE) + 1

    page.fill("#search-input", "hopper")
    page.press("#search-input", "Enter")
    page.wait_for_url("**search=hopper")
    assert page.locator("tbody tr").count() == 1
    page.click("tbody a[href*='/user/edit/']")
    page.fill("[name=password]", "short")
    page.click("input[value=Save]")
    assert "at least 12 characters" in page.inner_text("[role=alert]")
    name = f"Grace {secrets.token_hex(4)}"
    page.fill("[name=full_name]", name)
    page.click("input[value=Save]")

    page.goto(f"/admin/user/list?search={name}")
    assert page.inner_text("tbody tr td:nth-child(3)") == "grace@example.com"
    assert PASSWORD not in site.log.read_text("utf-8")


def test_administrator_deletes_an_account_and_revokes_a_session(page: Page, site: Service) -> None:
    sign_in(page, ADMIN)
    with site.client() as client:
        login = {"email": f"{secrets.token_hex(4)}@example.com", "password": PASSWORD}
        client.post("/api/v1/users", json=login)
        assert client.post("/api/v1/auth/session", json=login).status_code == 201

        page.goto(f"/admin/login-session/list?search={login['email']}")
        page.check("tbody input[type=checkbox]")
        page.click("#dropdownMenuButton")
        page.click("#action-custom-revoke")
        page.click("button:has-text('Revoke')")
        page.wait_for_url("**/login-session/list")
        assert client.get("/api/v1/users/me").status_code == 401

        page.goto(f"/admin/user/list?search={login['email']}")
        page.click("tbody [data-bs-target='#modal-delete']")
        page.wait_for_selector("#modal-delete-button[data-url*=pks]")
        with page.expect_navigation():
            page.click("#modal-delete-button")
        assert page.locator("tbody tr").count() == 0
        assert client.post("/api/v1/auth/session", json=login).status_code == 401


def test_administrator_creates_a_service_account_and_rotates_its_secret(
    page: Page, site: Service
) -> None:
    name = secrets.token_hex(4)
    sign_in(page, ADMIN)
    page.goto("/admin/service-account/create")
    page.fill("[name=name]", name)
    page.check("[value='users:admin']")
    page.click("input[value=Save]")
    shown = [read_secret(page)]
    page.click("tbody a[href*='/service-account/details/']")
    page.click("text=Rotate secret")
    page.click("button:has-text('Rotate secret')")
    shown.append(read_secret(page))

    account = page.inner_text("tbody tr")
    assert all(text in account for text in (name, "users:admin"))
    [client_id] = re.findall(r"[0-9a-f-]{36}", account)
    with site.client() as client:
        statuses = [
            client.post(
                "/api/v1/auth/token",
                data={"grant_type": "client_credentials"},
                auth=(client_id, secret),
            ).status_code
            for secret in shown
        ]
    assert statuses == [401, 200]


def read_secret(page: Page) -> str:
    """Return the client secret in a dialog, and close the dialog, which leads to the list."""
    secret = page.input_value("#modal-secret.show #modal-secret-value")
    page.click("#modal-secret >> text=Done")
    page.wait_for_url("**/service-account/list")
    return secret


def test_administrator_logs_out(page: Page) -> None:
    sign_in(page, ADMIN)

    page.click("text=Logout")
    page.click("button:has-text('Log out')")

    page.goto("/admin/user/list")
    assert page.url.endswith("/admin/login")
    assert page.context.cookies() == []


@pytest.mark.parametrize(
    ("email", "password"),
    [(ADMIN, "wrong-password-1843"), ("charles@example.com", PASSWORD)],
    ids=["wrong password", "ordinary user"],
)
def test_other_users_cannot_log_in(page: Page, email: str, password: str) -> None:
    sign_in(page, email, password)

    assert "Incorrect email or password." in page.inner_text("form")
    page.goto("/admin/user/list")
    assert page.url.endswith("/admin/login")
