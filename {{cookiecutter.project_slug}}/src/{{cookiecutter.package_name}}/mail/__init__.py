"""Send email as plain text and HTML through the mail server of SMTP_URL.

The messages are the templates in `templates/`. Each is rendered twice, in `layout.txt`, whose first
line is the subject, and in `layout.html`.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit

import aiosmtplib
import structlog
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from .. import TITLE
from ..database import utcnow
{%- if cookiecutter.use_prometheus %}
from ..instruments import MAILS
{%- endif %}
from ..settings import Settings

log = structlog.stdlib.get_logger(__name__)

TEMPLATES: Final = Path(__file__).parent / "templates"
# Examples of the variables of all templates, for previews and tests.
EXAMPLES: Final[Mapping[str, object]] = {
    "link": "https://app.example.com/page#token=" + "x" * 43,
    "notice": "Your password has been changed",
    "ttl": 1_800,
}
UNITS: Final = {"day": 86_400, "hour": 3_600, "minute": 60}


@dataclass(frozen=True)
class Mail:
    """A message to one recipient.

    Attributes:
        template: name of the template, without the extension.
        values: the variables of the template. Do not include text that anyone may have typed, such
            as the name in a registration: it could contain links.
    """

    to: str
    template: str
    values: Mapping[str, object] = field(default_factory=dict)


class Rendered(NamedTuple):
    """The subject and the two forms of a message."""

    subject: str
    text: str
    html: str


class Mailer:
    """Send email.

    Without SMTP_URL, messages are logged with their links; in production they are dropped.

    Attributes:
        is_available: whether messages reach anyone: the recipients, or a developer by the log.
    """

    def __init__(self, settings: Settings) -> None:
        self._sender = _address(settings.mail_from)
        self._timeout = settings.mail_timeout
        self._url = settings.smtp_url and urlsplit(settings.smtp_url.get_secret_value())
        self.is_available = bool(self._url) or settings.environment != "production"
        self._text = _environment("layout.txt", autoescape=False)
        self._html = _environment("layout.html", autoescape=True)

    async def send(self, mail: Mail, *, key: str) -> None:
        """Send a message.

        Args:
            key: becomes the Message-ID. Use the same one when sending a message again, so that
                mail servers recognize the duplicate.

        Raises:
            jinja2.TemplateError: there is no such template, or one of its values is missing.
            ValueError: the address or the subject is no valid header; it may have a line break.
            aiosmtplib.SMTPException: the mail server rejects the message.
            TimeoutError: sending took longer than MAIL_TIMEOUT.
        """
        rendered = self.render(mail)
        message = self._compose(mail.to, rendered, key)
        if not self.is_available:
            log.warning("email is not sent", template=mail.template)
{%- if cookiecutter.use_prometheus %}
            MAILS.labels(mail.template, "dropped").inc()
{%- endif %}
            return
        if not self._url:
            log.info("mail", to=mail.to, subject=rendered.subject, text=rendered.text)
            return
        try:
            async with asyncio.timeout(self._timeout):
                await aiosmtplib.send(
                    message,
                    recipients=[mail.to],
                    hostname=self._url.hostname,
                    port=self._url.port,
                    username=unquote(self._url.username) if self._url.username else None,
                    password=unquote(self._url.password) if self._url.password else None,
                    use_tls=self._url.scheme == "smtps",
                    start_tls=self._url.scheme == "smtp+starttls",
                    timeout=self._timeout,
                )
        except (aiosmtplib.SMTPException, OSError) as error:
            log.warning("mail failed", template=mail.template, error=error)
{%- if cookiecutter.use_prometheus %}
            MAILS.labels(mail.template, "failed").inc()
{%- endif %}
            raise
{%- if cookiecutter.use_prometheus %}
        MAILS.labels(mail.template, "sent").inc()
{%- endif %}

    def render(self, mail: Mail) -> Rendered:
        """Render the template of a message."""
        name = f"{mail.template}.jinja"
        text = self._text.get_template(name).render(mail.values)
        subject, _, text = text.partition("\n")
        html = self._html.get_template(name).render(mail.values)
        return Rendered(subject, text.strip() + "\n", html + "\n")

    def _compose(self, to: str, rendered: Rendered, key: str) -> EmailMessage:
        """Return the message in the format of RFC 5322; headers with line breaks are rejected."""
        message = EmailMessage(policy=SMTP)
        message["From"] = self._sender
        message["To"] = _address(to)
        message["Subject"] = rendered.subject
        message["Date"] = utcnow()
        message["Message-ID"] = f"<{key}@{self._sender.domain}>"
        message["Auto-Submitted"] = "auto-generated"  # prevents automatic replies (RFC 3834)
        message.set_content(rendered.text)
        message.add_alternative(rendered.html, subtype="html")
        return message


def duration(seconds: int) -> str:
    """Return a time in words, such as "30 minutes", in the largest unit that divides it."""
    name = next((name for name, unit in UNITS.items() if seconds % unit == 0), "minute")
    number = round(seconds / UNITS[name])
    return f"{number} {name}" if number == 1 else f"{number} {name}s"


def _environment(layout: str, *, autoescape: bool) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=autoescape,  # noqa: S701 - plain text is not escaped
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"layout": layout, "title": TITLE}
    environment.filters["duration"] = duration
    return environment


def _address(email: str) -> Address:
    # Address's own parser rejects non-ASCII letters before the @.
    username, _, domain = email.rpartition("@")
    return Address(username=username, domain=domain)
