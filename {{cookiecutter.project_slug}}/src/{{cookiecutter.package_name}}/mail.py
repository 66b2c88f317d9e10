"""Email: a message in plain text and HTML, handed to the mail server of SMTP_URL."""

from collections.abc import Sequence
from dataclasses import dataclass
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from html import escape
from typing import Final
from urllib.parse import unquote, urlsplit
from uuid import UUID

import aiosmtplib
import structlog

from .database import utcnow
from .settings import Settings

log = structlog.stdlib.get_logger(__name__)

TIMEOUT_SECONDS: Final = 20  # for each answer of the mail server


@dataclass(frozen=True)
class Mail:
    """What is written to whom; paragraphs are plain text."""

    to: str
    subject: str
    paragraphs: Sequence[str]


class Mailer:
    """Sends email, or logs it where SMTP_URL is not set."""

    def __init__(self, settings: Settings) -> None:
        self._sender = _address(settings.mail_from)
        self._url = settings.smtp_url and urlsplit(settings.smtp_url.get_secret_value())

    async def send(self, mail: Mail, *, key: UUID) -> None:
        """Hand a message to the mail server, which takes it from there.

        Args:
            key: becomes the Message-ID, so that a message sent again is recognised.

        Raises:
            ValueError: an address or the subject cannot be a header, such as one with a line break.
            aiosmtplib.SMTPException: the server refuses it, or does not answer.
        """
        message = self.compose(mail, key)
        if not self._url:
            log.info("mail", to=mail.to, subject=mail.subject, text="\n\n".join(mail.paragraphs))
            return
        await aiosmtplib.send(
            message,
            recipients=[mail.to],
            hostname=self._url.hostname,
            port=self._url.port,
            username=unquote(self._url.username) if self._url.username else None,
            password=unquote(self._url.password) if self._url.password else None,
            use_tls=self._url.scheme == "smtps",
            start_tls=self._url.scheme == "smtp+starttls",
            timeout=TIMEOUT_SECONDS,
        )

    def compose(self, mail: Mail, key: UUID) -> EmailMessage:
        """The message as it is sent (RFC 5322); headers with line breaks are refused."""
        message = EmailMessage(policy=SMTP)
        message["From"] = self._sender
        message["To"] = _address(mail.to)
        message["Subject"] = mail.subject
        message["Date"] = utcnow()
        message["Message-ID"] = f"<{key}@{self._sender.domain}>"
        message["Auto-Submitted"] = "auto-generated"  # no replies of machines (RFC 3834)
        message.set_content("\n\n".join(mail.paragraphs) + "\n")
        html = "".join(f"<p>{escape(paragraph)}</p>\n" for paragraph in mail.paragraphs)
        message.add_alternative(html, subtype="html")
        return message


def _address(email: str) -> Address:
    # Its own parser refuses letters beyond ASCII before the @.
    username, _, domain = email.rpartition("@")
    return Address(username=username, domain=domain)
