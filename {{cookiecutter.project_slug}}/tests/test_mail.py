"""Email as a mail server receives it."""

from typing import Any

import pytest
from aiosmtplib import SMTPException
from jinja2 import UndefinedError

from {{ cookiecutter.package_name }}.dependencies import RequireMail
from {{ cookiecutter.package_name }}.logging import configure_logging
from {{ cookiecutter.package_name }}.mail import (
    EXAMPLES,
    TEMPLATES,
    Mail,
    Mailer,
    duration,
)
from {{ cookiecutter.package_name }}.main import create_app
from {{ cookiecutter.package_name }}.settings import Settings

from mail_support import MailServer, bodies, token_of
from support import NOWHERE, PRODUCTION, NewApp, new_client, settings_for

TOKEN = "a" * 43
LINK = f"https://app.example/page#token={TOKEN}"
VALUES = {**EXAMPLES, "link": LINK, "notice": "<b>1</b> & 2"}
MAIL = Mail("jürgen@example.com", "notice", {"notice": "Größe <b>"})


def settings(**changes: object) -> Settings:
    """Configure the logs, and return the settings."""
    changed = settings_for(NOWHERE, **changes)
    configure_logging(changed)
    return changed


async def test_mail_has_text_and_html(mail_server: MailServer) -> None:
    mailer = Mailer(settings(smtp_url=mail_server.url, mail_from="us@example.org"))

    await mailer.send(MAIL, key="the-key")
    await mailer.send(MAIL, key="the-key")

    first, again = mail_server.taken
    assert first["Message-ID"] == again["Message-ID"] == "<the-key@example.org>"
    assert (first["From"], first["To"]) == ("us@example.org", "jürgen@example.com")
    assert first["Subject"] == "Größe <b>"
    assert first["Auto-Submitted"] == "auto-generated"
    assert first.get_content_type() == "multipart/alternative"
    text, html = bodies(first)
    assert text.startswith("This message is about your")
    assert "Größe &lt;b&gt;</h1>" in html
    assert "Größe <b>" not in html


@pytest.mark.parametrize("template", sorted(path.stem for path in TEMPLATES.glob("*.jinja")))
async def test_every_template_renders_without_remote_content(
    mail_server: MailServer, template: str
) -> None:
    mailer = Mailer(settings(smtp_url=mail_server.url))

    await mailer.send(Mail("ada@example.com", template, VALUES), key="key")

    [mail] = mail_server.taken
    text, html = bodies(mail)
    assert mail["Subject"]
    assert html.startswith("<!doctype html>")
    assert not {part for part in ("{", "<b>", "src=", "url(", "<link", "<style") if part in html}
    assert "{" not in text
    if LINK in text:
        assert token_of(mail) == TOKEN
        assert "expires in 30 minutes" in text
        assert "expires in 30 minutes" in html


def test_missing_values_are_errors() -> None:
    with pytest.raises(UndefinedError, match="link"):
        Mailer(settings()).render(Mail("ada@example.com", "password_reset", {"ttl": 60}))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(60, "1 minute"), (90, "2 minutes"), (5_400, "90 minutes"), (7_200, "2 hours")],
)
def test_durations_are_in_words(seconds: int, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("to", "notice"),
    [
        ("ada@example.com\r\nBcc: eve@example.com", "Hello"),
        ("ada@example.com", "Hello\rBcc: eve@example.com"),
    ],
)
async def test_header_injection_is_rejected(mail_server: MailServer, to: str, notice: str) -> None:
    mailer = Mailer(settings(smtp_url=mail_server.url))

    with pytest.raises(ValueError, match=r"linefeed|CR|LF"):
        await mailer.send(Mail(to, "notice", {"notice": notice}), key="key")

    assert mail_server.offered == 0


async def test_mail_is_not_sent_unencrypted_when_starttls_is_required(
    mail_server: MailServer,
) -> None:
    url = mail_server.url.replace("smtp://", "smtp+starttls://")

    with pytest.raises(SMTPException, match="STARTTLS"):
        await Mailer(settings(smtp_url=url)).send(MAIL, key="key")

    assert mail_server.offered == 0


async def test_rejected_recipient_is_not_logged(
    capsys: pytest.CaptureFixture[str], mail_server: MailServer
) -> None:
    mail_server.rejects_recipients = True

    with pytest.raises(SMTPException):
        await Mailer(settings(smtp_url=mail_server.url)).send(MAIL, key="key")

    printed = capsys.readouterr().out
    assert all(part in printed for part in ("mail failed", "notice", "SMTPRecipientsRefused"))
    assert MAIL.to not in printed


async def test_sending_times_out_if_the_mail_server_is_slow(
    capsys: pytest.CaptureFixture[str], mail_server: MailServer
) -> None:
    mail_server.opened.clear()
    mailer = Mailer(settings(smtp_url=mail_server.url, mail_timeout=0.2))

    with pytest.raises(TimeoutError):
        await mailer.send(MAIL, key="key")

    mail_server.opened.set()
    assert "mail failed" in capsys.readouterr().out


async def test_mail_is_logged_with_its_link_outside_of_production(
    capsys: pytest.CaptureFixture[str],
) -> None:
    mailer = Mailer(settings(log_level="INFO", log_format="console"))

    await mailer.send(Mail(MAIL.to, "password_reset", VALUES), key="key")

    printed = capsys.readouterr().out
    assert all(part in printed for part in (MAIL.to, "Reset your password", LINK))


async def test_production_without_mail_server_logs_no_link(
    capsys: pytest.CaptureFixture[str],
) -> None:
    app = create_app(settings_for(NOWHERE, **PRODUCTION))

    async with app.router.lifespan_context(app):
        await app.state.services.mailer.send(Mail(MAIL.to, "password_reset", VALUES), key="key")

    printed = capsys.readouterr().out
    assert printed.count("email is not sent") == 2
    assert TOKEN not in printed
    assert MAIL.to not in printed


@pytest.mark.parametrize(
    ("changes", "status"),
    [({}, 204), (PRODUCTION, 503), (PRODUCTION | {"smtp_url": "smtp://nowhere:25"}, 204)],
)
async def test_routes_that_send_mail_need_a_mail_server_in_production(
    new_app: NewApp, changes: dict[str, Any], status: int
) -> None:
    app = new_app(app_url="https://app.example", **changes)

    @app.post("/send", status_code=204, dependencies=[RequireMail])
    async def send() -> None:
        """Do nothing."""

    response = await new_client(app).post("/send")

    assert response.status_code == status
    if status == 503:
        assert response.json()["type"] == "/problems/mail-unavailable"
