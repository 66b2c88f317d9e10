"""The code of AGENTS.md: what to do passes the checks of a project, what not to do fails them."""

import re
import shutil
from pathlib import Path

import pytest

from conftest import Render
from harness import environ, run
from questions import MIN_AND_MAX, Answers, label

BLOCK = re.compile(r"(?ms)^(Do|Don't): [^\n]+\n\n```python\n# (\w+\.py)\n(.*?)```")
# What stands above the code in the modules of a domain.
IMPORTS = {
    "router.py": """
import asyncio
import time
from typing import Annotated
from uuid import UUID
import structlog
from fastapi import APIRouter, Response, Security
from sqlalchemy.exc import SQLAlchemyError
from ..auth.dependencies import get_current_principal
from ..auth.principal import Principal
from ..auth.scopes import define_scopes
from ..dependencies import DbSession
from ..errors import problem_responses
from . import service
from .service import Invoice, send_receipt
log = structlog.stdlib.get_logger(__name__)
router = APIRouter(prefix="/api/v1/invoices")
READ, WRITE = define_scopes("invoices")
Writer = Annotated[Principal, Security(get_current_principal, scopes=[WRITE])]
""",
    "service.py": """
from datetime import datetime
from typing import Protocol
from uuid import UUID
from sqlalchemy.ext.asyncio import AsyncSession
from ..database import utcnow
from ..exceptions import ConflictError
from ..worker.queue import Context, enqueue, task
class Invoice:
    paid_at: datetime | None
async def get_invoice(
    session: AsyncSession, owner_id: UUID, invoice_id: UUID, *, for_update: bool
) -> Invoice:
    raise NotImplementedError
@task()
async def send_receipt(context: Context, invoice_id: UUID) -> None: ...
""",
    "schemas.py": "from ..schemas import RequestModel, SingleLineStr, Text\n",
}
# Imports that not every block needs, and their order.
IGNORED = "F401,I001"


def write(folder: Path, wanted: str) -> list[str]:
    """Write the blocks of one kind as modules of a domain, and return the rules that they break."""
    page = (folder / "AGENTS.md").read_text("utf-8")
    package = folder / "src" / "orders" / "invoices"
    package.mkdir(exist_ok=True)
    codes = []
    for kind, name, code in BLOCK.findall(page):
        if kind == wanted:
            text = IMPORTS[name]
            if not (folder / "src" / "orders" / "worker").exists():
                text = text.replace("..worker.queue", "..background")
            (package / name).write_text(text + code, "utf-8")
            codes += re.findall(r"  # ([A-Z]+\d+):", code)
    return codes


@pytest.mark.parametrize("answers", MIN_AND_MAX, ids=label)
def test_code_of_the_conventions(
    answers: Answers, render: Render, environment: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(render(**answers), tmp_path / "orders"))
    env = environ(folder, environment)
    tools = environment / "bin"
    ruff = [str(tools / "ruff"), "check", "--ignore", IGNORED, "--output-format", "concise"]

    assert write(folder, "Do") == []
    run([*ruff, "src/orders/invoices"], cwd=folder, env=env)
    run([str(tools / "mypy"), "src/orders/invoices"], cwd=folder, env=env)

    codes = write(folder, "Don't")
    said = run([*ruff, "--exit-zero", "src/orders/invoices"], cwd=folder, env=env)
    assert codes
    assert re.findall(r": ([A-Z]+\d+) ", said) == codes
    assert len((folder / "AGENTS.md").read_text("utf-8").splitlines()) <= 90
