"""Workers as real processes."""

import asyncio
import json
from pathlib import Path

from click.testing import CliRunner

from {{ cookiecutter.package_name }}.auth.tasks import send_verification
from {{ cookiecutter.package_name }}.cli import main
from {{ cookiecutter.package_name }}.worker.models import Status

from mail_support import MailServer
from support import PRODUCTION, environment_of, new_account, settings_for
from worker_support import Service, until, worker


async def begin_mail(service: Service, mail_server: MailServer) -> int:
    """Have a worker begin a job that waits for the mail server."""

    async def is_offered() -> bool:
        return mail_server.offered > 0

    user = await new_account(service.app)
    job_id = await service.add(send_verification, user_id=user.id)
    await until(is_offered)
    return job_id


async def test_sigterm_finishes_the_running_job(
    service: Service, mail_server: MailServer, tmp_path: Path
) -> None:
    mail_server.opened.clear()
    settings = service.settings.model_copy(update={"log_level": "INFO", "log_format": "json"})
    with worker(settings, tmp_path / "log") as process:
        job_id = await begin_mail(service, mail_server)
        process.terminate()
        mail_server.opened.set()
        code = await asyncio.to_thread(process.wait)

    assert code == 0
    assert await service.is_done(job_id)
    assert len(mail_server.taken) == 1
    lines = [json.loads(line) for line in (tmp_path / "log").read_text("utf-8").splitlines()]
    assert [line["message"] for line in lines] == ["worker started", "job", "worker stopped"]


async def test_job_of_a_killed_worker_is_done_by_another(
    service: Service, mail_server: MailServer, tmp_path: Path
) -> None:
    mail_server.opened.clear()
    with worker(service.settings, tmp_path / "log") as process:
        job_id = await begin_mail(service, mail_server)
        process.kill()
    assert (await service.job(job_id)).status == Status.PICKED

    mail_server.opened.set()
    await service.lose_heartbeats(await service.worker_of(job_id))
    async with service.working():
        await service.finish(job_id)

    # The killed worker had offered the message, but the mail server had not accepted it.
    assert len({mail["Message-ID"] for mail in mail_server.taken}) == 1


async def test_worker_shows_that_it_is_alive(service: Service, tmp_path: Path) -> None:
    async def is_alive() -> bool:
        return (tmp_path / "worker-alive").exists()

    with worker(service.settings, tmp_path / "log", TMPDIR=str(tmp_path)):
        await until(is_alive)


def test_bad_settings_are_one_sentence_each(database_url: str) -> None:
    changes = PRODUCTION | {"bcrypt_rounds": 9}
    environment = environment_of(settings_for(database_url).model_copy(update=changes))

    stopped = CliRunner().invoke(main, ["worker"], env=environment)

    [sentence] = stopped.output.splitlines()
    assert stopped.exit_code == 1
    assert sentence.startswith("BCRYPT_ROUNDS must be at least 10 in production")
