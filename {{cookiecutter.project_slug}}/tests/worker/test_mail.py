"""Email as a mail server receives it."""

import pytest
from aiosmtplib import SMTPException

from {{ cookiecutter.package_name }}.logging import configure_logging
from {{ cookiecutter.package_name }}.mail import Mail, Mailer
from {{ cookiecutter.package_name }}.worker.models import Status
from {{ cookiecutter.package_name }}.worker.tasks import send_welcome

from support import NOWHERE, new_account, settings_for
from worker_support import MailServer, NewService

MAIL = Mail(to="jürgen@example.com", subject="Größe", paragraphs=("1 < 2", "<b>bold</b>"))


async def test_mail_has_text_and_html(mail_server: MailServer) -> None:
    mailer = Mailer(settings_for(NOWHERE, smtp_url=mail_server.url, mail_from="us@example.org"))

    await mailer.send(MAIL, key="the-key")
    await mailer.send(MAIL, key="the-key")

    first, again = mail_server.taken
    assert first["Message-ID"] == again["Message-ID"] == "<the-key@example.org>"
    assert (first["From"], first["To"]) == ("us@example.org", "jürgen@example.com")
    assert first["Subject"] == "Größe"
    assert first.get_content_type() == "multipart/alternative"
    text, html = (part.get_content().replace("\r", "") for part in first.iter_parts())
    assert text == "1 < 2\n\n<b>bold</b>\n"
    assert html == "<p>1 &lt; 2</p>\n<p>&lt;b&gt;bold&lt;/b&gt;</p>\n"


@pytest.mark.parametrize(
    ("to", "subject"),
    [
        ("ada@example.com\r\nBcc: eve@example.com", "Hello"),
        ("ada@example.com", "Hello\nBcc: eve@example.com"),
    ],
)
async def test_headers_cannot_be_smuggled_in(
    mail_server: MailServer, to: str, subject: str
) -> None:
    mailer = Mailer(settings_for(NOWHERE, smtp_url=mail_server.url))

    with pytest.raises(ValueError, match=r"linefeed|CR|LF"):
        await mailer.send(Mail(to=to, subject=subject, paragraphs=("",)), key="key")

    assert mail_server.offered == 0


async def test_mail_is_not_sent_in_the_clear_when_that_was_not_said(
    mail_server: MailServer,
) -> None:
    url = mail_server.url.replace("smtp://", "smtp+starttls://")

    with pytest.raises(SMTPException, match="STARTTLS"):
        await Mailer(settings_for(NOWHERE, smtp_url=url)).send(MAIL, key="key")

    assert mail_server.offered == 0


async def test_rejected_recipient_is_not_logged(
    capsys: pytest.CaptureFixture[str], mail_server: MailServer, new_service: NewService
) -> None:
    mail_server.rejects_recipients = True

    async with new_service(smtp_url=mail_server.url) as service:
        account = await new_account(service.app)
        job_id = await service.add(send_welcome, user_id=account.id)
        async with service.working():
            await service.becomes(job_id, Status.QUEUED)

    printed = capsys.readouterr().out
    assert "SMTPRecipientsRefused" in printed
    assert account.email not in printed


async def test_without_a_mail_server_mail_is_logged(capsys: pytest.CaptureFixture[str]) -> None:
    settings = settings_for(NOWHERE, smtp_url=None, log_level="INFO", log_format="console")
    configure_logging(settings)

    await Mailer(settings).send(MAIL, key="key")

    said = capsys.readouterr().out
    assert all(part in said for part in ("jürgen@example.com", "Größe", "<b>bold</b>"))
