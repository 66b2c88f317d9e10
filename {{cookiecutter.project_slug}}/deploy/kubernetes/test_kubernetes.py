"""Check the manifests of each overlay against the application, the image and each other."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import yaml

from {{ cookiecutter.package_name }}.main import create_app
from {{ cookiecutter.package_name }}.settings import Settings
{%- if cookiecutter.use_worker %}
from {{ cookiecutter.package_name }}.worker.runner import LIVENESS_FILE
{%- endif %}

from deployment_checks import COMMANDS, PROGRAM, SAMPLE_VALUES, Process, problems, read_image

HERE = Path(__file__).parent
OVERLAYS = sorted(path.name for path in (HERE / "overlays").iterdir())
PROCESSES = {*COMMANDS, "migrate"}
LABEL = re.compile(r"[a-z]([a-z0-9-]{,61}[a-z0-9])?")  # RFC 1035, which Services have to follow
QUANTITY = re.compile(r"\d+(m|Mi|Gi)?")
COMPONENT = "app.kubernetes.io/component"
API_VERSIONS = {
    "ConfigMap": "v1",
    "Deployment": "apps/v1",
    "HorizontalPodAutoscaler": "autoscaling/v2",
    "Ingress": "networking.k8s.io/v1",
    "Job": "batch/v1",
    "NetworkPolicy": "networking.k8s.io/v1",
    "PodDisruptionBudget": "policy/v1",
    "Service": "v1",
    "ServiceAccount": "v1",
}
KUBECTL = """#!/bin/sh
printf '%s\\n' "$*" >>"$CALLS"
case "$*" in
    kustomize*) cp "$2/kustomization.yaml" "$CALLS.yaml" ;;
    $FAIL) exit 1 ;;
esac
"""

Document = dict[str, Any]


def build(folder: Path) -> list[Document]:
    """Return the documents that kustomize builds, by the rules of kustomize that are used here."""
    rules = yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8"))
    documents: list[Document] = []
    for name in [*rules.pop("resources", ()), *rules.pop("components", ())]:
        path = folder / name
        documents += build(path) if path.is_dir() else read(path)
    for generator in rules.pop("configMapGenerator", ()):
        values = dict(line.split("=", 1) for line in generator["literals"])
        if generator.get("behavior") == "merge":
            find(documents, "ConfigMap", generator["name"])["data"].update(values)
        else:
            metadata = {"name": generator["name"]}
            documents.append(
                {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": values}
            )
    for patch in rules.pop("patches", ()):
        document = find(documents, patch["target"]["kind"], patch["target"]["name"])
        for step in yaml.safe_load(patch["patch"]):
            change(document, step["op"], step["path"].strip("/").split("/"), step["value"])
    for count in rules.pop("replicas", ()):
        find(documents, "Deployment", count["name"])["spec"]["replicas"] = count["count"]
    for labels in rules.pop("labels", ()):
        for document in documents:
            document["metadata"].setdefault("labels", {}).update(labels["pairs"])
            if labels.get("includeSelectors") and "template" in document.get("spec", ()):
                document["spec"]["template"]["metadata"]["labels"].update(labels["pairs"])
    assert rules.pop("namespace", f"{PROGRAM}-{folder.name}") == f"{PROGRAM}-{folder.name}"
    assert rules.keys() == {"apiVersion", "kind"}
    return documents


def read(path: Path) -> list[Document]:
    """Return the documents of a file."""
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def change(value: Any, operation: str, path: list[str], new: object) -> None:
    """Apply one operation of a JSON patch (RFC 6902)."""
    for key in path[:-1]:
        value = value[int(key) if key.isdigit() else key]
    assert operation == ("replace" if path[-1] in value else "add")
    value[path[-1]] = new


def find(documents: list[Document], kind: str, name: str) -> Document:
    """Return the only document of this kind and name."""
    [found] = [one for one in documents if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    return found


def templates(documents: list[Document]) -> dict[str, Document]:
    """Return the pod templates by the names of their owners."""
    return {
        one["metadata"]["name"]: one["spec"]["template"]
        for one in documents
        if one["kind"] in {"Deployment", "Job"}
    }


def containers(documents: list[Document]) -> dict[str, tuple[Document, Document]]:
    """Return the pod and the only container of each template."""
    found = {}
    for name, template in templates(documents).items():
        [container] = template["spec"]["containers"]
        assert container["name"] == name
        found[name] = template["spec"], container
    return found


def services(documents: list[Document]) -> set[str]:
    """Return the names of the Services."""
    return {one["metadata"]["name"] for one in documents if one["kind"] == "Service"}


def secret_keys() -> list[str]:
    """Return the keys of the Secret."""
    [secret] = read(HERE / "components" / "external-secrets" / "external-secret.yaml")
    return [entry["secretKey"] for entry in secret["spec"]["data"]]


def selectors(value: Any) -> Iterator[Document]:
    """Yield each pod selector of a document."""
    if isinstance(value, list):
        for entry in value:
            yield from selectors(entry)
    if isinstance(value, dict):
        for key, entry in value.items():
            if key in {"selector", "podSelector", "labelSelector"}:
                plain = not entry.keys() <= {"matchLabels", "matchExpressions"}
                yield {"matchLabels": entry} if plain else entry
            elif key != "namespaceSelector":
                yield from selectors(entry)


def selects(selector: Document, labels: dict[str, str]) -> bool:
    """Return whether a selector matches pods with these labels."""
    assert {rule["operator"] for rule in selector.get("matchExpressions", ())} <= {"In"}
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        labels.get(rule["key"]) in rule["values"] for rule in selector.get("matchExpressions", ())
    )


@pytest.fixture(scope="module", params=OVERLAYS)
def overlay(request: pytest.FixtureRequest) -> str:
    """Each overlay in turn."""
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def documents(overlay: str) -> list[Document]:
    """The documents that are applied to the cluster."""
    return build(HERE / "overlays" / overlay)


@pytest.fixture(scope="module")
def routes() -> set[str]:
    """The paths of the application, except for the probes."""
    settings = {**SAMPLE_VALUES, "allowed_hosts": ["api.example"], "docs_enabled": True}
    app = create_app(Settings.model_validate(settings))
    paths = {*app.openapi()["paths"], *(getattr(route, "path", "/api") for route in app.routes)}
    return {path for path in paths if not path.startswith("/health/")}


def test_processes_match_the_application(documents: list[Document]) -> None:
    config = find(documents, "ConfigMap", "settings")["data"]
    given = {**read_image().variables, **config, **dict.fromkeys(secret_keys())}
    found = {}
    for name, (pod, container) in containers(documents).items():
        if container["image"] != PROGRAM:
            continue
        ports = {port["name"]: port["containerPort"] for port in container.get("ports", ())}
        probe = container.get("readinessProbe", {}).get("httpGet")
        wait = container.get("lifecycle", {}).get("preStop", {"sleep": {"seconds": 0}})
        found[name] = Process(
            name,
            variables=given | {one["name"]: one["value"] for one in container.get("env", ())},
            command=tuple(container.get("command", read_image().command)),
            health=f"{probe['path']}:{ports[probe['port']]}" if probe else None,
            stop_seconds=None
            if name == "migrate"
            else pod["terminationGracePeriodSeconds"] - wait["sleep"]["seconds"],
        )

    assert found.keys() == PROCESSES
    assert [problem for process in found.values() for problem in problems(process)] == []


def test_probes_use_the_right_paths(documents: list[Document]) -> None:
    _, web = containers(documents)["web"]

    assert [port["name"] for port in web["ports"]] == ["http"]
    assert {
        kind: (web[kind]["httpGet"]["path"], web[kind]["httpGet"]["port"])
        for kind in ("startupProbe", "livenessProbe", "readinessProbe")
    } == {
        "startupProbe": ("/health/live", "http"),
        "livenessProbe": ("/health/live", "http"),
        "readinessProbe": ("/health/ready", "http"),
    }
{%- if cookiecutter.use_worker %}
    _, worker = containers(documents)["worker"]
    [program, option, code] = worker["livenessProbe"]["exec"]["command"]
    assert (program, option) == ("python", "-c")
    assert f'"{LIVENESS_FILE.name}"' in code.replace("/tmp/", "")  # noqa: S108
{%- endif %}
    assert web["lifecycle"]["preStop"]["sleep"]["seconds"] > 0
    # /health/ready itself times out after 2 seconds.
    assert web["readinessProbe"]["timeoutSeconds"] > 2


def test_pods_are_restricted(documents: list[Document]) -> None:
    user, _, group = read_image().user.partition(":")
    for name, (pod, container) in containers(documents).items():
        assert pod["securityContext"] == {
            "runAsNonRoot": True,
            "runAsUser": int(user),
            "runAsGroup": int(group),
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert (pod["automountServiceAccountToken"], pod["enableServiceLinks"]) == (False, False)
        assert container["volumeMounts"][0]["name"] == pod["volumes"][0]["name"]
        assert pod["volumes"][0].keys() == {"name", "emptyDir"}
        if name in PROCESSES:
            assert container["volumeMounts"][0]["mountPath"] == "/tmp"  # noqa: S108
        assert container["resources"].keys() == {"requests", "limits"}
        for quantities in container["resources"].values():
            assert quantities.keys() == {"cpu", "memory"}
            assert all(QUANTITY.fullmatch(quantity) for quantity in quantities.values())


def test_references_are_defined(documents: list[Document]) -> None:
    [secret] = read(HERE / "components" / "external-secrets" / "external-secret.yaml")
    assert secret["spec"]["target"]["name"] == "settings"
    for name, (pod, container) in containers(documents).items():
        find(documents, "ServiceAccount", pod["serviceAccountName"])
        sources = [{"configMapRef": {"name": "settings"}}, {"secretRef": {"name": "settings"}}]
        assert container.get("envFrom", []) == (sources if name in PROCESSES else [])
        for variable in container.get("env", ()):
            if reference := variable.get("valueFrom", {}).get("secretKeyRef"):
                assert reference["name"] == "settings"
                assert reference["key"] in secret_keys()
    for name in services(documents):
        [port] = find(documents, "Service", name)["spec"]["ports"]
        _, container = containers(documents)[name]
        assert [port["targetPort"]] == [one["name"] for one in container["ports"]]
    target = find(documents, "HorizontalPodAutoscaler", "web")["spec"]
    assert target["scaleTargetRef"] == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "name": "web",
    }
    assert target["minReplicas"] <= target["maxReplicas"]
    web = find(documents, "Deployment", "web")["spec"]
    assert web["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert "replicas" not in web
    assert find(documents, "Job", "migrate")["spec"]["template"]["spec"]["restartPolicy"] == "Never"


def test_selectors_match_their_pods(documents: list[Document]) -> None:
    pods = {name: one["metadata"]["labels"] for name, one in templates(documents).items()}
    assert all(labels[COMPONENT] == name for name, labels in pods.items())
    for document in documents:
        name = document["metadata"]["name"]
        for selector in selectors(document.get("spec", {})):
            selected = {pod for pod, labels in pods.items() if selects(selector, labels)}
            assert selected, f"{document['kind']} {name} selects nothing by {selector}"
            if document["kind"] != "NetworkPolicy":
                assert selected == {name}


def test_network_policies_allow_only_required_traffic(documents: list[Document]) -> None:
    pods = {name: one["metadata"]["labels"] for name, one in templates(documents).items()}
    policies = {
        one["metadata"]["name"]: one["spec"] for one in documents if one["kind"] == "NetworkPolicy"
    }
    deny = policies.pop("default-deny")
    assert deny.keys() == {"podSelector", "policyTypes"}
    assert deny["policyTypes"] == ["Ingress", "Egress"]
    assert all(selects(deny["podSelector"], labels) for labels in pods.values())
    egress = policies.pop("egress")
    callers = {name for name, labels in pods.items() if selects(egress["podSelector"], labels)}
    assert callers == PROCESSES
    assert egress["policyTypes"] == ["Egress"]
    called = {53, 5432}
{%- if cookiecutter.use_redis %}
    called |= {6379}
{%- endif %}
{%- if cookiecutter.use_worker %}
    called |= {25, 465, 587}
{%- endif %}
{%- if cookiecutter.use_opentelemetry %}
    called |= {4318}
{%- endif %}
{%- if cookiecutter.use_sentry %}
    called |= {443}
{%- endif %}
    assert called <= {port["port"] for rule in egress["egress"] for port in rule["ports"]}
    for name, policy in policies.items():
        assert policy["policyTypes"] == ["Ingress"]
        assert policy["podSelector"] == {"matchLabels": {COMPONENT: name}}
        [rule] = policy["ingress"]
        _, container = containers(documents)[name]
        names = [port["name"] for port in container["ports"]]
        assert [port["port"] for port in rule["ports"]] == names
    assert policies.keys() == services(documents)


def test_rollout_stays_within_the_connections_of_postgresql(
    overlay: str, documents: list[Document]
) -> None:
    config = find(documents, "ConfigMap", "settings")["data"]
    defaults = {name.upper(): field.default for name, field in Settings.model_fields.items()}
    scaler = find(documents, "HorizontalPodAutoscaler", "web")["spec"]
    total = 1  # the migration
    for name in COMMANDS:
        _, container = containers(documents)[name]
        own = {one["name"]: one["value"] for one in container.get("env", ())}
        deployment = find(documents, "Deployment", name)["spec"]
        pods = scaler["maxReplicas"] if name == "web" else deployment["replicas"]
        values = {**defaults, **config, **own}
        connections = 2 * int(values["DATABASE_POOL_SIZE"]) + 1  # to read, to write, to probe
{%- if cookiecutter.use_worker %}
        if name == "worker":
            connections = int(values["WORKER_CONCURRENCY"]) + 2  # as cli.py sizes its pool
{%- endif %}
        total += 2 * pods * connections  # new pods do not wait for old ones to end

    assert total <= 100 - 3
    if overlay == "production":
        page = (HERE / "README.md").read_text(encoding="utf-8")
        assert f"at most {total} connections" in page


def test_clients_reach_every_route_except_the_probes(
    documents: list[Document], routes: set[str]
) -> None:
    ingress = find(documents, "Ingress", "web")["spec"]
    [rule], [tls] = ingress["rules"], ingress["tls"]
    allowed = find(documents, "ConfigMap", "settings")["data"]["ALLOWED_HOSTS"].split(",")
    assert rule["host"] in allowed
    assert tls["hosts"] == [rule["host"]]
    assert all(len(label) < 64 for label in rule["host"].split("."))
    for path in rule["http"]["paths"]:
        service = path["backend"]["service"]
        ports = find(documents, "Service", service["name"])["spec"]["ports"]
        assert service["port"]["name"] in {port["name"] for port in ports}
        assert path["pathType"] == "Prefix"
    prefixes = [path["path"] for path in rule["http"]["paths"]]

    def owner(route: str) -> list[str]:
        return [prefix for prefix in prefixes if fnmatchcase(f"{route}/", f"{prefix}/*")]

    assert [route for route in routes if not owner(route)] == []
    assert [prefix for prefix in prefixes if not any(prefix in owner(one) for one in routes)] == []
    assert owner("/health/ready") == []


def test_names_and_versions_are_valid(overlay: str, documents: list[Document]) -> None:
    for document in documents:
        assert document["apiVersion"] == API_VERSIONS[document["kind"]]
        assert LABEL.fullmatch(document["metadata"]["name"])
        assert "namespace" not in document["metadata"]
        for value in document["metadata"]["labels"].values():
            assert re.fullmatch(r"[A-Za-z0-9]([\w.-]{,61}[A-Za-z0-9])?", value)
    [namespace] = read(HERE / "overlays" / overlay / "namespace.yaml")
    assert namespace["metadata"] == {
        "name": f"{PROGRAM}-{overlay}",
        "labels": {"pod-security.kubernetes.io/enforce": "restricted"},
    }
    assert len(namespace["metadata"]["name"]) < 64
    images = {container["image"] for _, container in containers(documents).values()}
{%- if cookiecutter.use_redis %}
    assert images <= {PROGRAM, "redis:8"}
{%- else %}
    assert images == {PROGRAM}
{%- endif %}


def test_every_file_is_used() -> None:
    for folder in [HERE / "base", *(HERE / "components").iterdir()]:
        rules = yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8"))
        assert {*rules["resources"], "kustomization.yaml"} == {one.name for one in folder.iterdir()}
        build(folder)


def test_readme_lists_the_keys_of_the_secret() -> None:
    page = (HERE / "README.md").read_text(encoding="utf-8")

    assert re.findall(r"--from-literal=(\w+)=", page) == secret_keys()


@pytest.mark.skipif(sys.platform == "win32", reason="a script for a POSIX shell")
@pytest.mark.parametrize("fails", ["", "*condition=complete*"], ids=["migrated", "not migrated"])
def test_deploy_migrates_before_the_rollout(fails: str, overlay: str, tmp_path: Path) -> None:
    folder = shutil.copytree(HERE, tmp_path / "kubernetes")
    program = tmp_path / "kubectl"
    program.write_text(KUBECTL, encoding="utf-8")
    program.chmod(0o755)
    calls = tmp_path / "calls"
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(  # noqa: S603
        [folder / "deploy.sh", overlay, f"registry.example.com:5000/team/{PROGRAM}:1f4a9c2"],
        env={"PATH": path, "CALLS": str(calls), "FAIL": fails},
        check=False,
    )
    lines = calls.read_text(encoding="utf-8").splitlines()
    namespaces = {words[1] for words in map(str.split, lines) if words[0] == "-n"}
    verbs = [re.sub(r"^-n \S+ ", "", line).split()[0] for line in lines]
    rules = yaml.safe_load(Path(f"{calls}.yaml").read_text(encoding="utf-8"))

    before = ["kustomize", "delete", "apply", "wait", "logs", "wait"]
    after = ["apply", "rollout"]
    assert verbs == (before if fails else before + after)
    assert done.returncode == (1 if fails else 0)
    assert namespaces == {f"{PROGRAM}-{overlay}"}
    assert f"notin ({', '.join(COMMANDS)})" in lines[2]
    assert all(re.search(r" job[ /]migrate( |$)", line) for line in [lines[1], *lines[3:6]])
    assert rules["resources"] == [f"../overlays/{overlay}"]
    name = f"registry.example.com:5000/team/{PROGRAM}"
    assert rules["images"] == [{"name": PROGRAM, "newName": name, "newTag": "1f4a9c2"}]
    assert list(folder.glob("release.*")) == []
