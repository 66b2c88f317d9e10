"""Send email as plain text and HTML through the mail server of SMTP_URL."""

from collections.abc import Sequence
from dataclasses import dataclass
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from html import escape
from typing import Final
from urllib.parse import unquote, urlsplit

import aiosmtplib
import structlog

from .database import utcnow
from .settings import Settings

log = structlog.stdlib.get_logger(__name__)

TIMEOUT_SECONDS: Final = 20  # for each reply of the mail server


@dataclass(frozen=True)
class Mail:
    """A message to one recipient; paragraphs are plain text."""

    to: str
    subject: str
    paragraphs: Sequence[str]


class Mailer:
    """Send email, or log it when SMTP_URL is not set."""

    def __init__(self, settings: Settings) -> None:
        self._sender = _address(settings.mail_from)
        self._url = settings.smtp_url and urlsplit(settings.smtp_url.get_secret_value())

    async def send(self, mail: Mail, *, key: str) -> None:
        """Send a message.

        Args:
            key: becomes the Message-ID. Use the same one when sending a message again, so that
                mail servers recognize the duplicate.

        Raises:
            ValueError: an address or the subject is no valid header, such as one with a line break.
            aiosmtplib.SMTPException: the mail server rejects the message, or does not reply.
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

    def compose(self, mail: Mail, key: str) -> EmailMessage:
        """Return the message in the format of RFC 5322; headers with line breaks are rejected."""
        message = EmailMessage(policy=SMTP)
        message["From"] = self._sender
        message["To"] = _address(mail.to)
        message["Subject"] = mail.subject
        message["Date"] = utcnow()
        message["Message-ID"] = f"<{key}@{self._sender.domain}>"
        message["Auto-Submitted"] = "auto-generated"  # prevents automatic replies (RFC 3834)
        message.set_content("\n\n".join(mail.paragraphs) + "\n")
        html = "".join(f"<p>{escape(paragraph)}</p>\n" for paragraph in mail.paragraphs)
        message.add_alternative(html, subtype="html")
        return message


def _address(email: str) -> Address:
    # Address's own parser rejects non-ASCII letters before the @.
    username, _, domain = email.rpartition("@")
    return Address(username=username, domain=domain)
