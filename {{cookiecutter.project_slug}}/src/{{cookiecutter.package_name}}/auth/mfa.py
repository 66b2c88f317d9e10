"""Second factors: one-time passwords of an authenticator app (RFC 6238), and recovery codes.

NIST SP 800-63B-4 sections 3.1.2 (recovery codes are look-up secrets) and 3.1.4, OWASP ASVS 5.0
chapter 6. Lock the account before its factors, as all functions here do or require.
"""

import re
import secrets
from base64 import b32encode
from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import pyotp
import structlog
from pyotp.exceptions import OTPVerificationError
from sqlalchemy import delete, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from .. import TITLE
from ..audit.models import Action
from ..audit.service import record
{%- if not cookiecutter.use_worker %}
from ..background import enqueue
{%- endif %}
from ..database import Database, utcnow
from ..exceptions import (
    ConflictError,
    EmailNotVerifiedError,
    IncorrectCodeError,
    MfaRequiredError,
    NotFoundError,
)
{%- if cookiecutter.use_prometheus %}
from ..instruments import FACTORS
{%- endif %}
{%- if cookiecutter.use_worker %}
from ..worker.queue import enqueue
{%- endif %}
from .encryption import SecretBox
from .models import Authenticator, AuthenticatorKind, LoginSession, RecoveryCode, User
from .principal import Principal
from .sessions import hash_token, lock_caller, revoke_all_sessions
from .tasks import Notice, send_notice

# Methods of an authentication (RFC 8176). A recovery code is a one-time password too.
PASSWORD: Final = ("pwd",)
PASSWORD_AND_CODE: Final = ("pwd", "otp", "mfa")

WINDOW: Final = 1  # accepted time steps before and after the current one, for clocks that differ
MAX_FAILURES: Final = 100  # in a row (NIST SP 800-63B-4 section 3.2.2)
RECOVERY_CODES: Final = 10
BATCH: Final = 1_000  # secrets encrypted in one transaction

log = structlog.stdlib.get_logger(__name__)


async def list_factors(session: AsyncSession, user_id: UUID) -> tuple[Sequence[Authenticator], int]:
    """Return the confirmed factors of an account, and the number of its unused recovery codes."""
    factors = await session.scalars(
        select(Authenticator)
        .where(Authenticator.user_id == user_id, Authenticator.confirmed_at.is_not(None))
        .order_by(Authenticator.id)
    )
    codes = await session.scalar(
        select(func.count()).select_from(RecoveryCode).where(RecoveryCode.user_id == user_id)
    )
    return factors.all(), codes or 0


async def enroll_totp(
    session: AsyncSession, box: SecretBox, by: Principal, name: str | None
) -> tuple[Authenticator, str, str]:
    """Store an authenticator app, and return it with its secret and the URI for a QR code.

    Logins need no code until the app is confirmed.

    Raises:
        EmailNotVerifiedError: the account may be a stranger's, whose factor would lock out the
            owner of the address.
        ConflictError: the account has an authenticator app.
    """
    user = await lock_caller(session, by)
    if user.email_verified_at is None:
        raise EmailNotVerifiedError
    if await _find_totp(session, user.id) is not None:
        raise ConflictError("The account has an authenticator app; remove it first.")
    await session.execute(
        delete(Authenticator).where(
            Authenticator.user_id == user.id, Authenticator.confirmed_at.is_(None)
        )
    )
    secret = pyotp.random_base32()
    factor = Authenticator(
        user_id=user.id,
        kind=AuthenticatorKind.TOTP,
        name=name,
        secret=box.encrypt(user.id, secret),
    )
    session.add(factor)
    await session.flush()
    uri = pyotp.TOTP(secret).provisioning_uri(name=user.email, issuer_name=TITLE)
    return factor, secret, uri


async def confirm(
    session: AsyncSession, box: SecretBox, by: Principal, factor_id: UUID, otp: str
) -> list[str]:
    """Enable a factor with its first code, and return new recovery codes.

    Every other session is revoked, so that all sessions of the account have used the factor.

    Raises:
        NotFoundError: the caller has no such factor that waits for its confirmation.
        IncorrectCodeError: the code is wrong.
    """
    user = await lock_caller(session, by)
    factor = await session.scalar(
        select(Authenticator).where(
            Authenticator.id == factor_id,
            Authenticator.user_id == user.id,
            Authenticator.confirmed_at.is_(None),
        )
    )
    if factor is None:
        raise NotFoundError("Factor not found.")
    step = _matching_step(box, factor, _normalize(otp))
    if step is None:
        raise IncorrectCodeError
    factor.last_step, factor.confirmed_at = step, utcnow()
    user.mfa_enabled = True
    await revoke_all_sessions(session, user.id, keep=by.session_id)
    await session.execute(
        update(LoginSession)
        .where(LoginSession.id == by.session_id)
        .values(amr=" ".join(PASSWORD_AND_CODE), updated_at=LoginSession.updated_at)
    )
    record(session, Action.FACTOR_ADDED, user.id, by=by, target=f"factor:{factor.id}")
    await enqueue(session, send_notice, user_id=user.id, notice=Notice.FACTOR_ADDED)
    log.info("factor added", factor_id=str(factor.id))
    return await _create_recovery_codes(session, user.id)


async def remove(session: AsyncSession, by: Principal, factor_id: UUID) -> None:
    """Remove a factor of the caller, and with the last one the recovery codes.

    Raises:
        NotFoundError: the caller has no such factor.
    """
    user = await lock_caller(session, by)
    removed = await session.scalar(
        delete(Authenticator)
        .where(
            Authenticator.id == factor_id,
            Authenticator.user_id == user.id,
            Authenticator.confirmed_at.is_not(None),
        )
        .returning(Authenticator.id)
    )
    if removed is None:
        raise NotFoundError("Factor not found.")
    factors, _ = await list_factors(session, user.id)
    if not factors:
        await _disable(session, user)
    record(session, Action.FACTOR_REMOVED, user.id, by=by, target=f"factor:{factor_id}")
    await enqueue(session, send_notice, user_id=user.id, notice=Notice.FACTOR_REMOVED)
    log.info("factor removed", factor_id=str(factor_id))


async def remove_all(session: AsyncSession, user: User, by: Principal | None = None) -> bool:
    """Remove every factor of a locked account, whose owner has lost them, and end its sessions.

    Args:
        by: the administrator; None at the command line.

    Returns:
        Whether the account had a second factor.
    """
    if not user.mfa_enabled:
        return False
    await session.execute(delete(Authenticator).where(Authenticator.user_id == user.id))
    await _disable(session, user)
    await revoke_all_sessions(session, user.id)
    record(session, Action.FACTOR_REMOVED, user.id, by=by, credential="cli", target="factors")
    await enqueue(session, send_notice, user_id=user.id, notice=Notice.FACTOR_REMOVED)
    return True


async def remove_added_since(session: AsyncSession, user: User, since: datetime) -> None:
    """Remove the factors confirmed since a time or not yet, and all recovery codes.

    Args:
        user: the locked account.
    """
    confirmed_at = Authenticator.confirmed_at
    await session.execute(
        delete(Authenticator).where(
            Authenticator.user_id == user.id, or_(confirmed_at.is_(None), confirmed_at >= since)
        )
    )
    await session.execute(delete(RecoveryCode).where(RecoveryCode.user_id == user.id))
    factors, _ = await list_factors(session, user.id)
    user.mfa_enabled = bool(factors)


async def replace_recovery_codes(session: AsyncSession, by: Principal) -> list[str]:
    """Replace the recovery codes of the caller, and return the new ones.

    Raises:
        ConflictError: the account has no second factor.
    """
    user = await lock_caller(session, by)
    if not user.mfa_enabled:
        raise ConflictError("The account has no second factor.")
    record(session, Action.RECOVERY_CODES_REPLACED, user.id, by=by)
    await enqueue(session, send_notice, user_id=user.id, notice=Notice.RECOVERY_CODES_REPLACED)
    return await _create_recovery_codes(session, user.id)


async def verify_second_factor(
    session: AsyncSession, box: SecretBox, user: User, otp: str | None, address: str | None
) -> tuple[str, ...]:
    """Verify the code of a locked account, if it needs one, after the password was verified.

    Count a wrong code with `count_failure`, because the exception rolls the transaction back.

    Args:
        otp: a code of the authenticator app, or a recovery code.
        address: the address of the client.

    Returns:
        The methods of the authentication (RFC 8176).

    Raises:
        MfaRequiredError: the account needs a code, and there is none.
        IncorrectCodeError: the code is wrong or was used.
    """
    if not user.mfa_enabled:
        return PASSWORD
    if not otp:
        raise MfaRequiredError
    code = _normalize(otp)
    is_totp = re.fullmatch("[0-9]{6}", code) is not None
    if is_totp:
        accepted = await _use_totp(session, box, user.id, code)
    else:
        accepted = await _use_recovery_code(session, user.id, code, address)
{%- if cookiecutter.use_prometheus %}
    method = "totp" if is_totp else "recovery_code"
    FACTORS.labels(method, "success" if accepted else "failure").inc()
{%- endif %}
    if not accepted:
        raise IncorrectCodeError
    return PASSWORD_AND_CODE


async def count_failure(database: Database, user_id: UUID) -> None:
    """Count a wrong code. After MAX_FAILURES in a row, only a recovery code is accepted."""
    async with database.write_session() as session:
        await session.execute(
            update(Authenticator)
            .where(Authenticator.user_id == user_id)
            .values(failures=Authenticator.failures + 1)
        )


async def rotate_secrets(session: AsyncSession, box: SecretBox) -> int:
    """Encrypt all secrets with SECRET_KEY, and return the number of those that were not.

    Secrets that no key can decrypt stay as they are. Commits after each batch of rows, so that
    logins do not wait long for theirs.
    """
    rotated, last_id = 0, UUID(int=0)
    statement = select(Authenticator).order_by(Authenticator.id).limit(BATCH)
    while True:
        batch = statement.where(Authenticator.id > last_id).with_for_update(key_share=True)
        factors = (await session.scalars(batch)).all()
        if not factors:
            return rotated
        for factor in factors:
            if _decrypt(box, factor) is not None:
                secret = box.rotate(factor.secret)
                rotated += secret != factor.secret
                factor.secret = secret
        last_id = factors[-1].id
        await session.commit()


async def _find_totp(session: AsyncSession, user_id: UUID) -> Authenticator | None:
    factor: Authenticator | None = await session.scalar(
        select(Authenticator).where(
            Authenticator.user_id == user_id,
            Authenticator.kind == AuthenticatorKind.TOTP,
            Authenticator.confirmed_at.is_not(None),
        )
    )
    return factor


async def _use_totp(session: AsyncSession, box: SecretBox, user_id: UUID, code: str) -> bool:
    factor = await _find_totp(session, user_id)
    step = None if factor is None else _matching_step(box, factor, code)
    if factor is None or step is None:
        return False
    used = await session.scalar(
        update(Authenticator)
        .where(
            Authenticator.id == factor.id,
            # A code is valid once (RFC 6238 section 5.2).
            func.coalesce(Authenticator.last_step, -1) < step,
            Authenticator.failures < MAX_FAILURES,
        )
        .values(
            last_step=step,
            failures=0,
            last_used_at=utcnow(),
            secret=box.rotate(factor.secret),
        )
        .returning(Authenticator.id)
    )
    return used is not None


async def _use_recovery_code(
    session: AsyncSession, user_id: UUID, code: str, address: str | None
) -> bool:
    used = await session.scalar(
        delete(RecoveryCode)
        .where(RecoveryCode.user_id == user_id, RecoveryCode.code_hash == hash_token(code))
        .returning(RecoveryCode.id)
    )
    if used is None:
        return False
    await session.execute(
        update(Authenticator).where(Authenticator.user_id == user_id).values(failures=0)
    )
    action = Action.RECOVERY_CODE_USED
    record(session, action, user_id, credential="password", address=address)
    await enqueue(session, send_notice, user_id=user_id, notice=Notice.RECOVERY_CODE_USED)
    return True


async def _create_recovery_codes(session: AsyncSession, user_id: UUID) -> list[str]:
    await session.execute(delete(RecoveryCode).where(RecoveryCode.user_id == user_id))
    # 120 random bits, for which a plain hash suffices (NIST SP 800-63B-4 section 3.1.2.2).
    codes = [b32encode(secrets.token_bytes(15)).decode() for _ in range(RECOVERY_CODES)]
    session.add_all(RecoveryCode(user_id=user_id, code_hash=hash_token(code)) for code in codes)
    return ["-".join(re.findall("....", code)) for code in codes]


async def _disable(session: AsyncSession, user: User) -> None:
    user.mfa_enabled = False
    await session.execute(delete(RecoveryCode).where(RecoveryCode.user_id == user.id))


def _matching_step(box: SecretBox, factor: Authenticator, code: str) -> int | None:
    secret = _decrypt(box, factor)
    if secret is None:
        return None
    try:
        return pyotp.TOTP(secret).verify_and_get_timecode(
            code, for_time=utcnow(), valid_window=WINDOW
        )
    except OTPVerificationError:
        return None


def _decrypt(box: SecretBox, factor: Authenticator) -> str | None:
    try:
        return box.decrypt(factor.user_id, factor.secret)
    except ValueError:
        log.error("authenticator cannot be decrypted", factor_id=str(factor.id))  # noqa: TRY400
        return None


def _normalize(otp: str) -> str:
    """Return a code without the spaces and hyphens with which it is shown."""
    return re.sub(r"[\s-]", "", otp).upper()
