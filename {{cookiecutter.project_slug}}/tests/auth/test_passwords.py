"""Passwords: which are accepted, and what responses reveal about accounts."""

import bcrypt
import pytest
from httpx2 import AsyncClient
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from {{ cookiecutter.package_name }}.auth.models import User

from support import PASSWORD, Account, Register, change_password, log_in, pointers, registration

EMAIL = "ada.lovelace@example.com"
TOO_SHORT_OR_LONG = ["elevenchars", "é" * 37, "x" * 73]
GUESSABLE = [EMAIL, EMAIL.upper(), "Ada.Lovelace", "1qaz2wsx3edc", "1QAZ2WSX3EDC"]


@pytest.mark.parametrize("password", TOO_SHORT_OR_LONG + GUESSABLE, ids=ascii)
async def test_weak_password_is_rejected(
    client: AsyncClient, register: Register, password: str
) -> None:
    body = registration(email=EMAIL, password=password)
    registered = await client.post("/api/v1/users", json=body)
    member = await register(email=EMAIL)
    changed = await change_password(member.client, new=password)

    for response, pointer in ((registered, "/body/password"), (changed, "/body/new_password")):
        assert (response.status_code, pointers(response)) == (422, [pointer])
        assert password not in response.text


async def test_weak_new_password_is_rejected_without_hashing(
    member: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(bcrypt, "checkpw")
    monkeypatch.delattr(bcrypt, "hashpw")

    responses = [await change_password(member.client, new="1qaz2wsx3edc") for _ in range(11)]

    assert {response.status_code for response in responses} == {422}


async def test_failed_login_does_not_reveal_whether_the_account_exists(
    client: AsyncClient, register: Register, session: AsyncSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    member, inactive = await register(), await register()
    await session.execute(update(User).where(User.id == inactive.id).values(is_active=False))
    await session.commit()
    checked_hashes = []
    check_password = bcrypt.checkpw

    def record_and_check(password: bytes, password_hash: bytes) -> bool:
        checked_hashes.append(password_hash[:7])
        return check_password(password, password_hash)

    monkeypatch.setattr(bcrypt, "checkpw", record_and_check)
    monkeypatch.delattr(bcrypt, "hashpw")
    outcomes = set()
    for email, password in (
        ("unknown@example.com", PASSWORD),
        ("unknown@example.com", PASSWORD + "x" * 72),
        (member.email, "a wrong password"),
        (member.email, PASSWORD + "x" * 72),
        (inactive.email, PASSWORD),
        (inactive.email, "a wrong password"),
    ):
        response = await log_in(client, email, password)
        outcomes.add((response.status_code, response.text, *checked_hashes))
        checked_hashes.clear()

    # Each login compares one hash of the same cost.
    assert outcomes == {(400, response.text, b"$2b$04$")}
