"""Worker and scheduler as real processes."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import pytest
from click.testing import CliRunner

from {{ cookiecutter.package_name }}.cli import main
from {{ cookiecutter.package_name }}.settings import Settings
from {{ cookiecutter.package_name }}.worker.models import State
from {{ cookiecutter.package_name }}.worker.tasks import send_welcome

from support import environment_of, new_account, settings_for
from worker_support import MailServer, Service, until


@contextmanager
def process(settings: Settings, command: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command of the service until the block ends."""
    module = "{{ cookiecutter.package_name }}.cli"
    words = [sys.executable, "-m", module, command]
    environment = environment_of(settings)
    with (
        log.open("ab") as output,
        subprocess.Popen(words, env=environment, stdout=output, stderr=output) as running,  # noqa: S603
    ):
        try:
            yield running
        finally:
            running.kill()


async def begin_mail(service: Service, mail_server: MailServer) -> UUID:
    """Have a worker begin a job that waits for the mail server."""
    user = await new_account(service.app)
    job_id = await service.add(send_welcome, user_id=user.id)
    await until(lambda: reached(mail_server, 1))
    return job_id


async def reached(mail_server: MailServer, offered: int) -> bool:
    """Whether so many messages have been offered to the mail server."""
    return mail_server.offered >= offered


async def test_sigterm_finishes_the_job_that_runs(
    service: Service, mail_server: MailServer, tmp_path: Path
) -> None:
    mail_server.opened.clear()
    settings = service.app.state.services.settings.model_copy(
        update={"log_level": "INFO", "log_format": "json"}
    )
    with process(settings, "worker", tmp_path / "log") as worker:
        job_id = await begin_mail(service, mail_server)
        worker.terminate()
        mail_server.opened.set()
        code = await asyncio.to_thread(worker.wait)

    assert code == 0
    assert (await service.job(job_id)).state is State.DONE
    assert len(mail_server.taken) == 1
    lines = [json.loads(line) for line in (tmp_path / "log").read_text("utf-8").splitlines()]
    assert [line["message"] for line in lines] == ["worker started", "job", "worker stopped"]


async def test_job_of_a_killed_worker_is_done_by_another(
    service: Service, mail_server: MailServer, tmp_path: Path
) -> None:
    settings = service.app.state.services.settings
    mail_server.opened.clear()
    with process(settings, "worker", tmp_path / "killed") as worker:
        job_id = await begin_mail(service, mail_server)
        worker.kill()
    assert (await service.job(job_id)).state is State.RUNNING

    mail_server.opened.set()
    async with service.working():
        with process(settings, "scheduler", tmp_path / "log") as scheduler:
            await service.pass_time()
            await service.becomes(job_id, State.DONE, attempts=2)
            scheduler.terminate()
            assert await asyncio.to_thread(scheduler.wait) == 0

    # The first one was offered, but not taken before its sender had died.
    assert {mail["Message-ID"].partition("@")[0] for mail in mail_server.taken} == {f"<{job_id}"}


@pytest.mark.parametrize("command", ["worker", "scheduler"])
def test_bad_settings_are_one_sentence_each(database_url: str, command: str) -> None:
    changes = {
        "environment": "production",
        "allowed_hosts": ["test"],
        "smtp_url": None,
        "bcrypt_rounds": 12,
    }
    environment = environment_of(settings_for(database_url).model_copy(update=changes))

    stopped = CliRunner().invoke(main, [command], env=environment)

    [sentence] = stopped.output.splitlines()
    assert stopped.exit_code == 1
    assert sentence.startswith("SMTP_URL is missing; production")
