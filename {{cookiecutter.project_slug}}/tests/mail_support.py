"""A mail server, and the messages that it receives."""

import asyncio
import re
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage

from aiosmtpd.smtp import SMTP, Envelope, Session
from fastapi import FastAPI
{%- if cookiecutter.use_worker %}
from pgqueuer import JobId
from sqlalchemy import text
{%- endif %}

from {{ cookiecutter.package_name }}.state import get_state
{%- if cookiecutter.use_worker %}
from {{ cookiecutter.package_name }}.worker.queue import (
    JSON_OBJECT,
    TASKS,
    Context,
)
{%- endif %}

LINK = re.compile(r"https?://[^\s\"?#]+#token=([\w-]{43})(?![\w-])")


@dataclass
class MailServer:
    """A mail server that accepts messages once it is open."""

    port: int = 0
    opened: asyncio.Event = field(default_factory=asyncio.Event)
    offered: int = 0
    taken: list[EmailMessage] = field(default_factory=list)
    rejects_recipients: bool = False

    @property
    def url(self) -> str:
        """SMTP_URL of this server."""
        return f"smtp://127.0.0.1:{self.port}"

    async def handle_RCPT(  # noqa: N802
        self, _: SMTP, __: Session, envelope: Envelope, address: str, ___: list[str]
    ) -> str:
        """Accept a recipient, or name it in the rejection."""
        if self.rejects_recipients:
            return f"550 <{address}> is unknown"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _: SMTP, __: Session, envelope: Envelope) -> str:  # noqa: N802
        """Take a message."""
        self.offered += 1
        await self.opened.wait()
        assert isinstance(envelope.content, bytes)
        message = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(message, EmailMessage)
        self.taken.append(message)
        return "250 OK"

{% if cookiecutter.use_worker %}
async def deliver(app: FastAPI) -> None:
    """Run the queued jobs, and those that they enqueue, in this process."""
    state = get_state(app)
    statement = text("DELETE FROM pgqueuer RETURNING id, entrypoint, payload")
    while True:
        async with state.database.write_session() as session:
            jobs = (await session.execute(statement)).all()
        if not jobs:
            return
        for job_id, name, payload in sorted(jobs):
            async with state.database.write_session() as session:
                context = Context(session, state.mailer, state.settings, JobId(job_id))
                await TASKS[name].function(context, **JSON_OBJECT.validate_json(payload))
{% else %}
async def deliver(app: FastAPI) -> None:
    """Wait until the background tasks have finished."""
    # Applications of one test share a database, and the last of them runs the tasks.
    await get_state(app).database.write_sessions().info["runner"].join()
{% endif %}

def bodies(mail: EmailMessage) -> list[str]:
    """Return the text and the HTML of a message."""
    return [part.get_content().replace("\r", "") for part in mail.iter_parts()]


def token_of(mail: EmailMessage) -> str:
    """Return the token of a message, which must be nowhere but in the fragments of its links."""
    text, html = bodies(mail)
    [token] = set(LINK.findall(text)) & set(LINK.findall(html))
    for place in (*map(str, mail.values()), LINK.sub("", text), LINK.sub("", html)):
        assert token not in place
    return str(token)
