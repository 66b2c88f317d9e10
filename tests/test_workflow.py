"""The template's workflows: linters accept them, and the weekly run reports its failures."""

import os
import sys
from pathlib import Path

import pytest
import yaml

from harness import run
from questions import TEMPLATE

WORKFLOWS = sorted((TEMPLATE / ".github" / "workflows").glob("*.yml"))
TOOLS = Path(sys.executable).parent
RERUN = "rerun:  .venv/bin/pytest --all 'tests/test_renders.py::test_combination[sqlite]'"
RENDER = "render: TEMPLATE_SKIP=lock,git .venv/bin/cookiecutter . --no-input database=sqlite"
TIME = "2026-11-23T04:23:00.0000000Z "
GH = f"""#!/bin/sh
echo "$*" >>"$LOG"
case "$1 $2" in
    "run view")
        printf '7\\tPython 3.14\\thttps://example.com/7\\n'
        printf '8\\tPython 3.11\\thttps://example.com/8\\n'
        ;;
    "api repos/team/template/actions/jobs/7/logs") cat <<'END'
{TIME}FAILED
{TIME}{RERUN}
{TIME}{RENDER}
END
    ;;
    "issue list") echo "$NUMBER" ;;
    "issue comment" | "issue create") cp report.md "$LOG.md" ;;
esac
"""


def test_linters_find_no_problem() -> None:
    # actionlint asks the shellcheck that it finds.
    env = os.environ | {"PATH": f"{TOOLS}{os.pathsep}{os.environ['PATH']}"}
    schema = ("check-jsonschema", "--builtin-schema", "vendor.github-workflows")
    for command in (("actionlint", "-no-color"), ("zizmor", "--offline", "--quiet"), schema):
        run([str(TOOLS / command[0]), *command[1:], *map(str, WORKFLOWS)], cwd=TEMPLATE, env=env)


def test_shellcheck_finds_no_problem() -> None:
    scripts = [TEMPLATE / ".ci" / "run", *(TEMPLATE / "tests" / "containers").glob("*.sh")]
    run([str(TOOLS / "shellcheck"), *map(str, scripts)], cwd=TEMPLATE)


@pytest.mark.parametrize(
    ("number", "what"),
    [("", "issue create --title The weekly run fails"), ("12", "issue comment 12")],
    ids=["first failure", "repeated failure"],
)
def test_weekly_run_reports_how_to_rerun_failed_tests(
    number: str, what: str, tmp_path: Path
) -> None:
    [workflow] = [path for path in WORKFLOWS if path.name == "ci.yml"]
    job = yaml.safe_load(workflow.read_text("utf-8"))["jobs"]["report"]
    [step] = job["steps"]
    stub = tmp_path / "bin" / "gh"
    stub.parent.mkdir()
    stub.write_text(GH, encoding="utf-8")
    stub.chmod(0o755)
    env = os.environ | {
        "GH_REPO": "team/template",
        "LOG": str(tmp_path / "log"),
        "NUMBER": number,
        "PATH": f"{stub.parent}{os.pathsep}{os.environ['PATH']}",
        "RUN": "1",
        "TITLE": step["env"]["TITLE"],
    }
    run(["bash", "-e", "-c", step["run"]], cwd=tmp_path, env=env)

    assert (tmp_path / "log").read_text("utf-8").splitlines()[-1] == (
        f"{what} --body-file report.md"
    )
    assert (tmp_path / "log.md").read_text("utf-8") == (
        f"### [Python 3.14](https://example.com/7)\n\n```\n{RERUN}\n{RENDER}\n```\n\n"
        "### [Python 3.11](https://example.com/8)\n\n```\nNo test failed: see the log.\n```\n\n"
    )
