"""Rules, dashboards and receivers of renders, run by Prometheus and Alertmanager."""

import json
import re
import shutil
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from conftest import Render
from harness import python_of, run, wait_for
from monitoring import load, migrate, tool, watch
from questions import TEMPLATE, Answers, label

OFF = {"use_redis": False, "use_worker": False, "use_admin": False}
ON = {"use_redis": True, "use_worker": True, "use_admin": True}
ALONE: list[Answers] = [
    {"database": "postgresql", **OFF, "use_prometheus": True},
    {"database": "sqlite", **OFF, "use_prometheus": True},
]
EVERYTHING: Answers = {"database": "postgresql", **ON, "use_prometheus": True}
# What is empty as long as all goes well: answers with a 5xx.
EMPTY = re.compile(r'status="5xx"')
# What a machine that is busy or slow may set off beside the mistakes.
SLOW = {
    "CpuSaturated",
    "DatabaseSlow",
    "LatencyBudgetBurnsFast",
    "LatencyBudgetBurnsSlowly",
    "PasswordsQueue",
    "PoolSaturated",
    "TargetDown",
}
SECONDS = 300  # of work at most, until something of each kind has happened between two readings


@pytest.mark.parametrize("answers", [*ALONE, EVERYTHING], ids=label)
def test_configuration_and_alerts_pass_promtool_and_amtool(
    answers: Answers, render: Render
) -> None:
    folder = render(**answers, project_slug="9" + "-a" * 24) / "deploy" / "monitoring"

    run([tool("promtool"), "check", "config", "prometheus.yml"], cwd=folder)
    run([tool("promtool"), "check", "rules", "rules.yml"], cwd=folder)
    run([tool("promtool"), "test", "rules", "rules_test.yml"], cwd=folder)
    run([tool("amtool"), "check-config", "alertmanager.yml"], cwd=folder)


def test_guide_has_a_row_for_every_alert(render: Render) -> None:
    guide = (TEMPLATE / "docs" / "how-to" / "respond-to-alerts.md").read_text("utf-8")
    rules = (render(**EVERYTHING) / "deploy" / "monitoring" / "rules.yml").read_text("utf-8")

    rows = re.findall(r"^\| ([A-Z]\w+(?:, [A-Z]\w+)*) \|", guide, re.MULTILINE)

    assert {name for row in rows for name in row.split(", ")} == set(
        re.findall(r"- alert: (\w+)", rules)
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("rules.yml", "auth_logins_total", "auth_login_total"),
        ("rules.yml", "deploy/monitoring/README.md#targetdown", "README.md"),
        ("rules_test.yml", "name: TargetDown", "name: TargetsDown"),
        ("README.md", "### JobsWait", "### JobWaits"),
        ("prometheus.yml", "port: 9464", "port: 9465"),
        ("grafana/dashboards/worker.json", "job_wait_seconds", "job_waits_seconds"),
        ("grafana/dashboards/cache.json", '"uid": "prometheus"', '"uid": "other"'),
    ],
)
def test_own_tests_find_a_typo_in_any_file(
    file: str,
    old: str,
    new: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    app = request.getfixturevalue("make_application")(EVERYTHING)
    project = shutil.copytree(app.folder, tmp_path / "project")
    path = project / "deploy" / "monitoring" / file
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), "utf-8")

    env = {**app.env, "PYTHONPATH": str(project / "src")}
    test = "deploy/monitoring/test_monitoring.py"
    with pytest.raises(pytest.fail.Exception, match="1 failed"):
        run([python_of(env), "-m", "pytest", "-p", "no:randomly", test], cwd=project, env=env)


@pytest.mark.thorough
@pytest.mark.parametrize("answers", [EVERYTHING, ALONE[1]], ids=label)
def test_every_query_finds_data_and_a_stopped_service_alerts(
    answers: Answers,
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    app = request.getfixturevalue("make_application")(answers)
    settings = app.settings(LOG_FORMAT="json", BCRYPT_ROUNDS="6", LOGIN_ATTEMPTS="100000")
    settings |= {"LOGIN_ATTEMPTS_PER_ADDRESS": "100000"}
    migrate(app.folder, settings)
    processes = ["worker"] if answers["use_worker"] else []
    with watch(app.folder, settings, processes, tmp_path) as watched:
        panels = [
            target["expr"]
            for file in (app.folder / "deploy/monitoring/grafana/dashboards").iterdir()
            for panel in json.loads(file.read_text("utf-8"))["panels"]
            for target in panel["targets"]
        ]
        groups = yaml.safe_load((app.folder / "deploy/monitoring/rules.yml").read_text("utf-8"))
        [objectives, alerts] = [group["rules"] for group in groups["groups"]]
        asked = panels + [rule["expr"] for rule in objectives]
        # An alert finds nothing as long as all is well: what it looks at must be there.
        asked += selectors(rule["expr"] for rule in alerts)
        asked += [rule["expr"] for rule in alerts if rule["alert"] == "RefreshTokenReused"]

        def missing() -> list[str]:
            empty = [query for query in asked if not watched.query(query)]
            return [
                query
                for query in empty
                if not EMPTY.search(query)
                or not watched.query(re.sub(r',?status="5xx"', "", query))
            ]

        enough = threading.Event()
        with ThreadPoolExecutor() as pool:
            try:
                loading = pool.submit(load, watched.service, SECONDS, enough)
                while (left := missing()) and not loading.done():
                    time.sleep(1)
            finally:
                enough.set()
            loading.result()
        assert left == []
        firing = {rule["alert"] for rule in alerts if watched.query(rule["expr"])}
        assert firing - SLOW <= {"RefreshTokenReused", "LoginFailures"}
        watched.service.process.terminate()
        down = 'ALERTS{alertname="TargetDown",process="web",alertstate="firing"}'
        wait_for(lambda: watched.query(down))

        def told() -> list[str]:
            return [body for body in watched.hook.bodies if "TargetDown" in body]

        wait_for(told)
        assert "cannot scrape a process" in told()[0]
        assert "README.md#targetdown" in told()[0]


def selectors(expressions: Iterable[str]) -> list[str]:
    """Return the selectors of series in expressions."""
    return sorted(set(re.findall(r"[a-z_:0-9]+\{[^}]*\}", " ".join(expressions))))
