"""Second factors: authenticator apps and recovery codes."""

import asyncio
import base64
import shutil
import subprocess
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid4

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient, Response
from sqlalchemy import event, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from {{ cookiecutter.package_name }}.auth import mfa, sessions
from {{ cookiecutter.package_name }}.auth.models import (
    Authenticator,
    AuthenticatorKind,
    LoginSession,
    RecoveryCode,
    User,
)
from {{ cookiecutter.package_name }}.auth.service import login_transaction
from {{ cookiecutter.package_name }}.auth.tasks import Notice
from {{ cookiecutter.package_name }}.database import utcnow
from {{ cookiecutter.package_name }}.state import get_state

from mail_support import MailServer, deliver
from mfa_support import FACTORS, Factor, enroll, totp
from support import (
    PASSWORD,
    WRONG_PASSWORD,
    Account,
    NewApp,
    Register,
    assert_throttled,
    log_in,
    new_account,
    new_client,
    pointers,
    refresh,
    until_set,
)

TOKEN, SESSION = "/api/v1/auth/token", "/api/v1/auth/session"
REAUTHENTICATION = "/api/v1/auth/reauthentication"
ME, CODES = "/api/v1/users/me", "/api/v1/auth/recovery-codes"
WRONG_CODE = "000000"
MFA_REQUIRED = "/problems/mfa-required"
# RFC 6238 appendix B, with SHA-1
RFC_SECRET = base64.b32encode(b"12345678901234567890").decode()
RFC_CODES = {
    59: "94287082",
    1111111109: "07081804",
    1111111111: "14050471",
    1234567890: "89005924",
    2000000000: "69279037",
    20000000000: "65353130",
}


class Clock:
    """The clock of the service for codes, which stands still."""

    def __init__(self) -> None:
        self.time = utcnow().timestamp()

    def now(self) -> datetime:
        """Return the time."""
        return datetime.fromtimestamp(self.time, UTC)

    def code(self, factor: Factor) -> str:
        """Advance by a step, and return its code."""
        self.time += 30
        return totp(factor.secret, self.time)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Stop the clock of the service for codes."""
    clock = Clock()
    monkeypatch.setattr(mfa, "utcnow", clock.now)
    return clock


@pytest.fixture
async def factor(member: Account, clock: Clock) -> Factor:
    """Enable an authenticator app for the member."""
    return await enroll(member, clock.time)


async def log_in_browser(
    client: AsyncClient, account: Account, otp: str | None = None, password: str = PASSWORD
) -> Response:
    """Log in with cookies."""
    login = {"email": account.email, "password": password}
    return await client.post(SESSION, json=login if otp is None else login | {"otp": otp})


async def create_totp(account: Account) -> dict[str, str]:
    """Add an authenticator app without confirming it."""
    response = await account.client.post(f"{FACTORS}/totp", json={})
    assert response.status_code == 201, response.text
    created: dict[str, str] = response.json()
    return created


async def confirm(account: Account, factor_id: str, otp: str) -> Response:
    """Confirm a factor."""
    return await account.client.post(f"{FACTORS}/{factor_id}/confirmation", json={"otp": otp})


async def read_factors(account: Account) -> dict[str, Any]:
    """Return the factors of an account."""
    factors: dict[str, Any] = (await account.client.get(FACTORS)).json()
    return factors


def test_codes_of_the_tests_are_those_of_the_rfc() -> None:
    codes = {time: totp(RFC_SECRET, time, digits=8) for time in RFC_CODES}

    assert codes == RFC_CODES


@pytest.mark.skipif(shutil.which("oathtool") is None, reason="oathtool is not installed")
def test_codes_of_the_tests_are_those_of_oathtool() -> None:
    secret = base64.b32encode(uuid4().bytes + b"1234").decode()
    for time in (59, 1234567890, int(utcnow().timestamp())):
        command = ["oathtool", "--totp", "--base32", f"--now=@{time}", secret]
        run = subprocess.run(command, capture_output=True, check=True, text=True)  # noqa: S603
        assert run.stdout.strip() == totp(secret, time)


async def test_codes_of_the_rfc_are_accepted(
    app: FastAPI, client: AsyncClient, member: Account, clock: Clock, session: AsyncSession
) -> None:
    secret = get_state(app).auth.box.encrypt(member.id, RFC_SECRET)
    kind, now = AuthenticatorKind.TOTP, utcnow()
    session.add(Authenticator(user_id=member.id, kind=kind, secret=secret, confirmed_at=now))
    await session.execute(update(User).where(User.id == member.id).values(mfa_enabled=True))
    await session.commit()

    for clock.time, code in RFC_CODES.items():
        assert (await log_in(client, member.email, otp=code[-6:])).status_code == 200


async def test_login_needs_a_code_once_the_factor_is_confirmed(
    client: AsyncClient, member: Account, clock: Clock
) -> None:
    replaced = await create_totp(member)
    created = await create_totp(member)

    uri = urlsplit(created["uri"])
    query = parse_qs(uri.query)
    assert (uri.scheme, uri.netloc) == ("otpauth", "totp")
    assert uri.path.endswith(f":{member.email.replace('@', '%40')}")
    assert (query["secret"], len(created["secret"])) == ([created["secret"]], 32)
    assert await read_factors(member) == {"factors": [], "recovery_codes_left": 0}
    assert (await log_in(client, member.email)).status_code == 200

    otp = totp(created["secret"], clock.time)
    wrong = await confirm(member, created["id"], WRONG_CODE)
    assert (wrong.status_code, pointers(wrong)) == (403, ["/body/otp"])
    gone = await confirm(member, replaced["id"], totp(replaced["secret"], clock.time))
    assert gone.status_code == 404
    assert not (await member.client.get(ME)).json()["mfa_enabled"]

    confirmed = await confirm(member, created["id"], otp)

    assert confirmed.status_code == 200
    assert confirmed.headers["Cache-Control"] == "no-store"
    assert len(set(confirmed.json()["recovery_codes"])) == 10
    factors = await read_factors(member)
    [factor] = factors["factors"]
    assert (factor["id"], factor["kind"]) == (created["id"], "totp")
    assert factors["recovery_codes_left"] == 10
    assert (await member.client.get(ME)).json()["mfa_enabled"]
    assert (await log_in(client, member.email)).json()["error"] == "mfa_required"
    assert (await confirm(member, created["id"], otp)).status_code == 404


async def test_account_has_one_authenticator_app(member: Account, factor: Factor) -> None:
    response = await member.client.post(f"{FACTORS}/totp", json={})

    assert response.status_code == 409
    assert [listed["id"] for listed in (await read_factors(member))["factors"]] == [factor.id]


async def test_factor_needs_a_verified_email(register: Register) -> None:
    account = await register(email_verified_at=None)

    response = await account.client.post(f"{FACTORS}/totp", json={})

    assert response.status_code == 403
    assert response.json()["type"] == "/problems/email-not-verified"


async def test_confirmation_revokes_the_other_sessions(
    app: FastAPI, client: AsyncClient, member: Account, session: AsyncSession
) -> None:
    other = (await log_in(client, member.email)).json()
    async with new_client(app) as browser:
        await log_in_browser(browser, member)

        await enroll(member)

        assert (await browser.get(ME)).status_code == 401
    assert (await refresh(client, other["refresh_token"])).status_code == 400
    assert (await member.client.get(ME)).status_code == 200
    [login] = await session.scalars(
        select(LoginSession).where(
            LoginSession.user_id == member.id, LoginSession.revoked_at.is_(None)
        )
    )
    assert login.amr == "pwd otp mfa"


async def test_token_endpoint_requires_a_code(
    client: AsyncClient, member: Account, factor: Factor, clock: Clock
) -> None:
    missing, empty = await log_in(client, member.email), await log_in(client, member.email, otp="")
    wrong = await log_in(client, member.email, otp=WRONG_CODE)
    guess = await log_in(client, member.email, WRONG_PASSWORD, otp=clock.code(factor))
    issued = await log_in(client, member.email, otp=totp(factor.secret, clock.time))

    for response, error in (
        (missing, "mfa_required"),
        (empty, "mfa_required"),
        (wrong, "invalid_grant"),
        (guess, "invalid_grant"),
    ):
        assert (response.status_code, response.json()["error"]) == (400, error)
        assert response.headers["Cache-Control"] == "no-store"
    assert wrong.json()["error_description"] == "Incorrect code."
    assert guess.json()["error_description"] == "Incorrect email or password."
    holder = {"Authorization": f"Bearer {issued.json()['access_token']}"}
    assert (await client.get(ME, headers=holder)).json()["id"] == str(member.id)


async def test_browser_login_requires_a_code(
    client: AsyncClient, member: Account, factor: Factor, clock: Clock
) -> None:
    missing = await log_in_browser(client, member)
    wrong = await log_in_browser(client, member, WRONG_CODE)
    guess = await log_in_browser(client, member, clock.code(factor), WRONG_PASSWORD)
    assert not client.cookies
    created = await log_in_browser(client, member, totp(factor.secret, clock.time))

    assert [response.status_code for response in (missing, wrong, guess, created)] == [
        401,
        401,
        401,
        201,
    ]
    assert missing.json()["type"] == MFA_REQUIRED
    assert missing.headers["WWW-Authenticate"] == "Bearer"
    assert pointers(wrong) == ["/body/otp"]
    assert guess.json()["detail"] == "Incorrect email or password."
    assert (await client.get(ME)).json()["id"] == str(member.id)


async def test_reauthentication_requires_a_code(
    member: Account, factor: Factor, clock: Clock, session: AsyncSession
) -> None:
    async def reauthenticate(**otp: str) -> Response:
        return await member.client.post(REAUTHENTICATION, json={"password": PASSWORD} | otp)

    missing, wrong = await reauthenticate(), await reauthenticate(otp=WRONG_CODE)
    accepted = await reauthenticate(otp=clock.code(factor))

    assert (missing.status_code, missing.json()["type"]) == (401, MFA_REQUIRED)
    assert (wrong.status_code, pointers(wrong)) == (403, ["/body/otp"])
    assert accepted.status_code == 204
    [login] = await session.scalars(select(LoginSession))
    assert login.amr == "pwd otp mfa"


async def test_code_is_accepted_once(
    client: AsyncClient, member: Account, factor: Factor, clock: Clock
) -> None:
    confirmation = totp(factor.secret, clock.time)
    assert (await log_in(client, member.email, otp=confirmation)).status_code == 400
    code = clock.code(factor)
    assert (await log_in(client, member.email, otp=f"{code[:3]} {code[3:]}")).status_code == 200

    assert (await log_in(client, member.email, otp=code)).status_code == 400
    assert (await log_in_browser(client, member, code)).status_code == 401
    assert (await log_in(client, member.email, otp=confirmation)).status_code == 400


@pytest.mark.parametrize(("steps", "status"), [(-2, 400), (-1, 200), (0, 200), (1, 200), (2, 400)])
async def test_clocks_may_differ_by_a_step(
    client: AsyncClient,
    member: Account,
    factor: Factor,
    clock: Clock,
    steps: int,
    status: int,
) -> None:
    clock.time += 300

    response = await log_in(client, member.email, otp=totp(factor.secret, clock.time + 30 * steps))

    assert response.status_code == status


@pytest.mark.parametrize("otp", ["", " ", "00000", "0000000", "\u0661" * 6, "é" * 64, "-"])
async def test_malformed_code_is_rejected(
    client: AsyncClient, member: Account, factor: Factor, otp: str
) -> None:
    assert factor.recovery_codes
    response = await log_in(client, member.email, otp=otp)

    error = "invalid_grant" if otp else "mfa_required"
    assert (response.status_code, response.json()["error"]) == (400, error)


async def test_recovery_code_is_accepted_once(
    client: AsyncClient, member: Account, factor: Factor
) -> None:
    first, second = factor.recovery_codes[:2]
    assert (await log_in(client, member.email, otp=first)).status_code == 200
    assert (await log_in_browser(client, member, first)).status_code == 401
    spelled = second.replace("-", " ").lower()
    assert (await log_in_browser(client, member, spelled)).status_code == 201

    assert (await read_factors(member))["recovery_codes_left"] == 8


@pytest.mark.parametrize("kind", ["code", "recovery code"])
async def test_one_of_concurrent_logins_with_a_code_succeeds(
    live_app: FastAPI, clock: Clock, kind: str
) -> None:
    account = await new_account(live_app)
    factor = await enroll(account, clock.time)
    otp = clock.code(factor) if kind == "code" else factor.recovery_codes[0]

    async def attempt(number: int) -> int:
        async with new_client(live_app, address=f"192.0.2.{number}") as client:
            return (await log_in(client, account.email, otp=otp)).status_code

    statuses = await asyncio.gather(*map(attempt, range(20)))

    assert sorted(statuses) == [200] + [400] * 19


async def test_factor_is_confirmed_once(live_app: FastAPI, clock: Clock) -> None:
    account = await new_account(live_app)
    created = await create_totp(account)
    otp = totp(created["secret"], clock.time)

    responses = await asyncio.gather(*(confirm(account, created["id"], otp) for _ in range(5)))

    assert sorted(response.status_code for response in responses) == [200] + [404] * 4


async def test_recovery_codes_are_replaced(
    client: AsyncClient, member: Account, factor: Factor
) -> None:
    response = await member.client.post(CODES)

    codes = response.json()["recovery_codes"]
    assert (response.status_code, len(codes)) == (201, 10)
    assert (await log_in(client, member.email, otp=factor.recovery_codes[0])).status_code == 400
    assert (await log_in(client, member.email, otp=codes[0])).status_code == 200


async def test_recovery_codes_need_a_factor(member: Account) -> None:
    assert (await member.client.post(CODES)).status_code == 409


async def test_login_needs_no_code_after_the_factor_is_removed(
    client: AsyncClient, member: Account, factor: Factor, register: Register
) -> None:
    url, other = f"{FACTORS}/{factor.id}", await register()
    assert (await other.client.delete(url)).status_code == 404
    assert (await log_in(client, member.email)).status_code == 400

    responses = [await member.client.delete(url) for _ in range(2)]

    assert [response.status_code for response in responses] == [204, 404]
    assert await read_factors(member) == {"factors": [], "recovery_codes_left": 0}
    assert (await log_in(client, member.email)).status_code == 200
    # The code is ignored.
    assert (await log_in(client, member.email, otp=factor.recovery_codes[0])).status_code == 200


async def test_after_100_wrong_codes_only_a_recovery_code_is_accepted(
    client: AsyncClient, member: Account, factor: Factor, clock: Clock, session: AsyncSession
) -> None:
    for failures, status in ((98, 200), (99, 400)):
        await session.execute(update(Authenticator).values(failures=failures))
        await session.commit()
        assert (await log_in(client, member.email, otp=WRONG_CODE)).status_code == 400
        assert (await log_in(client, member.email, otp=clock.code(factor))).status_code == status

    assert (await log_in(client, member.email, otp=factor.recovery_codes[0])).status_code == 200
    assert (await log_in(client, member.email, otp=clock.code(factor))).status_code == 200


async def test_wrong_codes_are_limited_like_wrong_passwords(
    client: AsyncClient, member: Account, factor: Factor, clock: Clock
) -> None:
    for _ in range(5):
        assert (await log_in(client, member.email, otp=WRONG_CODE)).status_code == 400
        missing = await log_in(client, member.email)  # does not reset the limit
        assert missing.json()["error"] == "mfa_required"

    assert_throttled(await log_in(client, member.email, otp=clock.code(factor)))
    assert_throttled(await log_in_browser(client, member, totp(factor.secret, clock.time)))


async def test_new_factors_do_not_allow_more_guesses_of_the_password(
    member: Account, clock: Clock
) -> None:
    for _ in range(9):
        body = {"password": WRONG_PASSWORD}
        assert (await member.client.post(REAUTHENTICATION, json=body)).status_code == 403

    await enroll(member, clock.time)

    assert_throttled(await member.client.post(REAUTHENTICATION, json={"password": WRONG_PASSWORD}))


async def test_wrong_codes_at_the_confirmation_are_limited(member: Account, clock: Clock) -> None:
    created = await create_totp(member)
    for _ in range(10):
        assert (await confirm(member, created["id"], WRONG_CODE)).status_code == 403

    assert_throttled(await confirm(member, created["id"], totp(created["secret"], clock.time)))


async def test_login_with_a_code_resets_the_limit(
    client: AsyncClient, member: Account, factor: Factor, clock: Clock
) -> None:
    for _ in range(2):
        for _ in range(9):
            assert (await log_in(client, member.email, otp=WRONG_CODE)).status_code == 400
        assert (await log_in(client, member.email, otp=clock.code(factor))).status_code == 200


def when_locking(app: FastAPI) -> asyncio.Event:
    """Return an event that is set when a transaction is about to lock a row or the database."""
    locking = asyncio.Event()

    def check(*arguments: Any) -> None:
        if "FOR NO KEY UPDATE" in arguments[2] or "BEGIN IMMEDIATE" in arguments[2]:
            locking.set()

    engine = get_state(app).database.write_engine.sync_engine
    event.listen(engine, "before_cursor_execute", check)
    return locking


async def test_login_that_waits_for_an_enrollment_needs_a_code(live_app: FastAPI) -> None:
    account = await new_account(live_app)
    enrolled = update(User).where(User.id == account.id).values(mfa_enabled=True)
    async with new_client(live_app) as client:
        async with get_state(live_app).database.write_session() as session:
            await session.execute(enrolled)
            locking = when_locking(live_app)
            login = asyncio.create_task(log_in(client, account.email))
            await until_set(locking)
        assert (await login).json()["error"] == "mfa_required"


async def test_enrollment_that_waits_for_a_login_revokes_its_session(live_app: FastAPI) -> None:
    account, state = await new_account(live_app), get_state(live_app)
    created = await create_totp(account)
    client = sessions.ClientInfo(address=None, user_agent=None)
    transaction = login_transaction(state.database, state.auth, account.email, PASSWORD, client)
    async with transaction as login:
        tokens = await sessions.create_token_session(
            login.session, state.auth.tokens, login.user, client, 3600, amr=login.amr
        )
        locking = when_locking(live_app)
        confirmation = asyncio.create_task(confirm(account, created["id"], totp(created["secret"])))
        await until_set(locking)

    assert (await confirmation).status_code == 200
    async with new_client(live_app, tokens.access_token) as holder:
        assert (await holder.get(ME)).status_code == 401


async def test_secrets_and_recovery_codes_are_not_stored_in_plain_text(
    member: Account, factor: Factor, session: AsyncSession
) -> None:
    [authenticator] = await session.scalars(select(Authenticator))
    hashes = (await session.scalars(select(RecoveryCode.code_hash))).all()

    assert authenticator.user_id == member.id
    assert factor.secret not in authenticator.secret
    assert len(hashes) == 10
    assert not {code.replace("-", "") for code in factor.recovery_codes} & set(hashes)


async def test_changes_of_factors_are_recorded_and_their_owner_notified(
    new_app: NewApp, mail_server: MailServer, clock: Clock
) -> None:
    app = new_app(smtp_url=mail_server.url)
    account = await new_account(app)
    factor = await enroll(account, clock.time)
    async with new_client(app, address="192.0.2.1") as client:
        await log_in(client, account.email, otp=factor.recovery_codes[0])
    await account.client.post(CODES)
    await account.client.delete(f"{FACTORS}/{factor.id}")
    await deliver(app)

    events = (await account.client.get(f"{ME}/audit-events")).json()["items"]
    assert [(event["action"], event["credential"], event["target"]) for event in events] == [
        ("factor.removed", "token", f"factor:{factor.id}"),
        ("recovery_codes.replaced", "token", None),
        ("login.succeeded", "password", None),
        ("recovery_code.used", "password", None),
        ("factor.added", "token", f"factor:{factor.id}"),
    ]
    assert {event["by"] for event in events} == {"you"}
    assert [event["address"] for event in events[2:4]] == ["192.0.2.1"] * 2
    assert [mail["Subject"] for mail in mail_server.taken] == [
        Notice.FACTOR_ADDED,
        Notice.RECOVERY_CODE_USED,
        Notice.RECOVERY_CODES_REPLACED,
        Notice.FACTOR_REMOVED,
    ]
    assert {mail["To"] for mail in mail_server.taken} == {account.email}


async def test_factor_of_a_revoked_session_is_not_confirmed(live_app: FastAPI) -> None:
    account, state = await new_account(live_app), get_state(live_app)
    created = await create_totp(account)
    otp = totp(created["secret"])
    async with state.database.write_session() as session:
        # As a password reset does, which would end a stranger's session.
        await session.scalar(select(User).where(User.id == account.id).with_for_update())
        locking = when_locking(live_app)
        confirmation = asyncio.create_task(confirm(account, created["id"], otp))
        await until_set(locking)
        await sessions.revoke_all_sessions(session, account.id)

    assert (await confirmation).status_code == 403
    async with new_client(live_app) as client:
        assert (await log_in(client, account.email)).status_code == 200


async def stored_secret(session: AsyncSession, user_id: UUID) -> str:
    """Return the encrypted secret of an account."""
    statement = select(Authenticator.secret).where(Authenticator.user_id == user_id)
    return (await session.scalars(statement)).one()


NEW_KEY = "another-secret-key-of-more-than-32-characters"


@pytest.mark.parametrize("rotation", ["login", "command"])
async def test_secret_key_is_rotated(
    new_app: NewApp,
    member: Account,
    admin: Account,
    factor: Factor,
    clock: Clock,
    session: AsyncSession,
    monkeypatch: pytest.MonkeyPatch,
    rotation: str,
) -> None:
    former = new_app()
    old_key = former.state.services.settings.secret_key.get_secret_value()
    both = new_app(secret_key=NEW_KEY, secret_key_fallbacks=f"unused, {old_key}")
    only_new = new_app(secret_key=NEW_KEY)
    before = await stored_secret(session, member.id)
    async with new_client(only_new) as client:
        assert (await log_in(client, member.email, otp=clock.code(factor))).status_code == 400

    if rotation == "login":
        async with new_client(both) as client:
            assert (await log_in(client, member.email, otp=clock.code(factor))).status_code == 200
    else:
        monkeypatch.setattr(mfa, "BATCH", 1)
        session.add(Authenticator(user_id=admin.id, kind=AuthenticatorKind.TOTP, secret="-"))
        await session.commit()
        box = get_state(both).auth.box
        assert await mfa.rotate_secrets(session, box) == 1
        await session.commit()
        assert await mfa.rotate_secrets(session, box) == 0
        await session.commit()

    assert await stored_secret(session, member.id) != before
    async with new_client(only_new) as client:
        assert (await log_in(client, member.email, otp=clock.code(factor))).status_code == 200


async def test_recovery_code_does_not_depend_on_the_secret_key(
    new_app: NewApp,
    member: Account,
    factor: Factor,
    clock: Clock,
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with new_client(new_app(secret_key=NEW_KEY)) as client:
        assert (await log_in(client, member.email, otp=clock.code(factor))).status_code == 400
        assert (await log_in(client, member.email, otp=factor.recovery_codes[0])).status_code == 200

    output = capsys.readouterr().out
    assert "authenticator cannot be decrypted" in output
    assert factor.secret not in output


async def test_secret_of_another_account_is_not_accepted(
    client: AsyncClient, member: Account, register: Register, clock: Clock, session: AsyncSession
) -> None:
    other = await register()
    own, factor = await enroll(member, clock.time), await enroll(other, clock.time)
    secret = await stored_secret(session, other.id)
    swapped = update(Authenticator).where(Authenticator.user_id == member.id)
    await session.execute(swapped.values(secret=secret))
    await session.commit()

    codes = clock.code(factor), totp(own.secret, clock.time)
    for otp in codes:
        assert (await log_in(client, member.email, otp=otp)).status_code == 400
    assert (await log_in(client, other.email, otp=codes[0])).status_code == 200


async def test_unverified_account_cannot_log_in_if_verification_is_required(
    new_app: NewApp, register: Register
) -> None:
    unverified, verified = await register(email_verified_at=None), await register()
    async with new_client(new_app(require_verified_email=True)) as client:
        token = await log_in(client, unverified.email)
        browser = await log_in_browser(client, unverified)
        guess = await log_in(client, unverified.email, WRONG_PASSWORD)
        assert (await log_in(client, verified.email)).status_code == 200
        assert (await log_in_browser(client, verified)).status_code == 201

    assert (token.status_code, token.json()["error"]) == (400, "email_not_verified")
    assert browser.status_code == 403
    assert browser.json()["type"] == "/problems/email-not-verified"
    assert guess.json()["error"] == "invalid_grant"


async def test_unverified_account_can_log_in_by_default(
    client: AsyncClient, register: Register
) -> None:
    account = await register(email_verified_at=None)

    assert (await log_in(client, account.email)).status_code == 200
