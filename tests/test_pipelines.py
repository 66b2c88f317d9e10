"""The pipelines of the renders: linters accept them, and their commands run."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import Render
from questions import Answers, label, product

QUESTIONS = ("database", "use_redis", "use_worker", "use_kubernetes", "cloud", "ci")
PIPELINES = [answers for answers in product(QUESTIONS) if answers["ci"] != "none"]
# Those whose jobs to deploy differ.
DEPLOYING = [
    answers
    for answers in PIPELINES
    if answers["database"] == "postgresql"
    and answers["use_redis"] == answers["use_worker"]
    and (answers["use_worker"] or answers["cloud"] in {"railway", "render"})
]
# Those without a target, whose services differ.
ALONE = [one for one in PIPELINES if not one["use_kubernetes"] and one["cloud"] == "none"]
CHECKS = {"quality", "test", "audit", "build", "deployment"}
WORKFLOW = ".github/workflows/ci.yml"
JOBS = ".gitlab-ci.yml"
PUSH = '$CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH && $CI_PIPELINE_SOURCE == "push"'
SHA = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def rendered(render: Render) -> Render:
    """Render once for each of the answers; what is made must not be changed."""
    made: dict[str, Path] = {}

    def rendered(**answers: Any) -> Path:
        if label(answers) not in made:
            made[label(answers)] = render(**answers)
        return made[label(answers)]

    return rendered


def tool(name: str) -> str:
    """Return the path of a command: in the environment that runs the tests, or on PATH."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        pytest.fail(f"{name} is neither in this environment nor on PATH")
    return found


def complaint(*command: str, cwd: Path) -> str:
    """Run a linter and return its output if it fails, else an empty string."""
    folders = {str(Path(tool(one)).parent) for one in ("shellcheck", command[0])}
    done = subprocess.run(
        [tool(command[0]), *command[1:]],
        cwd=cwd,
        env=os.environ | {"PATH": os.pathsep.join([*folders, os.environ["PATH"]])},
        capture_output=True,
        text=True,
        check=False,
    )
    return f"{command[0]}: {done.stdout}{done.stderr}" if done.returncode else ""


def complaints(folder: Path) -> Iterator[str]:
    """Yield the problems of the pipelines of the renders in a folder."""
    for project in sorted(folder.iterdir()):
        yield from loose_ends(project)
    schema = ("check-jsonschema", "--builtin-schema")
    if workflows := [str(path) for path in folder.glob(f"*/{WORKFLOW}")]:
        dependabot = [str(path) for path in folder.glob("*/.github/dependabot.yml")]
        yield complaint("actionlint", "-no-color", *workflows, cwd=folder)
        yield complaint("zizmor", "--offline", "--quiet", str(folder), cwd=folder)
        yield complaint(*schema, "vendor.github-workflows", *workflows, cwd=folder)
        yield complaint(*schema, "vendor.dependabot", *dependabot, cwd=folder)
    else:
        pipelines = list(folder.glob(f"*/{JOBS}"))
        # The schema does not look into jobs that others extend, so those are written out, too.
        merged = [path.parent / "merged.yml" for path in pipelines]
        for path in merged:
            path.write_text(yaml.safe_dump(jobs(path.parent)), encoding="utf-8")
        files = map(str, pipelines + merged)
        yield complaint(*schema, "vendor.gitlab-ci", *files, cwd=folder)
        written = []
        for path in pipelines:
            for name, script in scripts(path.parent).items():
                written.append(path.parent / f"{name}.sh")
                written[-1].write_text(f"{script}\n", encoding="utf-8")
        # SC2209 takes the environment named `test` for the command.
        options = ("--shell", "sh", "--exclude", "SC2209")
        yield complaint("shellcheck", *options, *map(str, written), cwd=folder)


def copy(project: Path, target: Path) -> Path:
    """Copy the files of a render that its pipeline consists of or refers to."""
    for name in (".github", JOBS, "deploy"):
        if (project / name).is_dir():
            shutil.copytree(project / name, target / name, dirs_exist_ok=True)
        elif (project / name).exists():
            shutil.copy(project / name, target)
    return target


def jobs(project: Path) -> dict[str, dict[str, Any]]:
    """Return the jobs of a render's pipeline, with `extends` of GitLab resolved."""
    if (project / WORKFLOW).exists():
        content = yaml.safe_load((project / WORKFLOW).read_text("utf-8"))
        found: dict[str, dict[str, Any]] = content["jobs"]
        return found
    content = yaml.safe_load((project / JOBS).read_text("utf-8"))
    keywords = {"default", "variables", "workflow"}

    def whole(name: str) -> dict[str, Any]:
        parents = content[name].get("extends", [])
        merged: dict[str, Any] = {}
        for part in [whole(one) for one in ([parents] if isinstance(parents, str) else parents)]:
            merged = merge(merged, part)
        return merge(merged, content[name])

    return {name: whole(name) for name in content if name not in keywords and name[0] != "."}


def merge(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Two jobs as `extends` merges them: what both have comes from the second, but for mappings."""
    both = {
        key: merge(old[key], value)
        for key, value in new.items()
        if isinstance(value, dict) and isinstance(old.get(key), dict)
    }
    return {**old, **new, **both}


def scripts(project: Path) -> dict[str, str]:
    """Return the commands of each job of a render's pipeline as one script."""
    found = {}
    for name, job in jobs(project).items():
        steps = [
            step["run"] for step in job.get("steps", []) if "run" in step and taken(step, name)
        ]
        found[name] = "\n".join([*job.get("before_script", []), *job.get("script", steps)])
    return found


def taken(step: dict[str, Any], job: str) -> bool:
    """Return whether this job runs a step that it shares with others."""
    return "== 'staging'" not in step.get("if", "") or "-production" not in job


def needs(job: dict[str, Any]) -> list[str]:
    """Return the jobs that a job needs."""
    named = job.get("needs", [])
    return [named] if isinstance(named, str) else list(named)


def before(name: str, all_jobs: dict[str, dict[str, Any]]) -> set[str]:
    """Return all jobs that must succeed before this one starts."""
    found = set(needs(all_jobs[name]))
    if all_jobs[name].get("stage") == "deploy" and not found:
        found = {one for one, job in all_jobs.items() if job.get("stage") != "deploy"}
    return found.union(*(before(one, all_jobs) for one in found))


def deploys(all_jobs: dict[str, dict[str, Any]]) -> set[str]:
    """Return the names of the jobs that deploy."""
    return {name for name, job in all_jobs.items() if "environment" in job}


def loose_ends(project: Path) -> list[str]:
    """Return references to missing jobs and files, which the linters do not check."""
    all_jobs = jobs(project)
    text = "".join(
        (project / one).read_text("utf-8") for one in (WORKFLOW, JOBS) if (project / one).exists()
    )
    named = {one for job in all_jobs.values() for one in needs(job)}
    paths = set(re.findall(r"\bdeploy/[\w./-]*\w", text))
    return [
        *(f"needs {one}, which is no job" for one in sorted(named - set(all_jobs))),
        *(
            f"names {path}, which is not there"
            for path in sorted(paths)
            if not (project / path).exists()
        ),
    ]


@pytest.mark.thorough
@pytest.mark.parametrize("ci", ["github", "gitlab"])
def test_linters_find_no_problem(ci: str, rendered: Render, tmp_path: Path) -> None:
    for answers in ALONE + DEPLOYING:
        if answers["ci"] == ci:
            folder = tmp_path / label(answers)
            folder.mkdir(exist_ok=True)
            copy(rendered(**answers), folder)

    assert [*filter(None, complaints(tmp_path))] == []


@pytest.mark.parametrize(
    ("ci", "right", "wrong"),
    [
        ("github", "needs: [build, kubernetes-staging]", "needs: [build, kubernetes-stagin]"),
        ("github", "if: env.OVERLAY ==", "if: envs.OVERLAY =="),
        ("github", "needs.build.outputs.image", "needs.build.outputs.imgae"),
        ("github", "environment: production", "enviroment: production"),
        ("github", '"$OVERLAY" "$IMAGE"', "$OVERLAY ${{ github.event.head_commit.message }}"),
        ("github", "@3d3c42e5aac5ba805825da76410c181273ba90b1", "@v7"),
        ("github", "# v4.4.1", "# v4.4.1\n        wiht: {}"),
        ("github", "overlays/$overlay", "overlay/$overlay"),
        ("github", "interval: weekly", "interval: weakly"),
        ("gitlab", "needs: [kubernetes-staging]", "needs: [kubernetes-stagin]"),
        ("gitlab", "when: manual", "when: manually"),
        ("gitlab", "environment: production", "enviroment: production"),
        ("gitlab", "deploy/kubernetes/deploy.sh", "deploy/kubernetes/deploy.bash"),
        ("gitlab", "exit 1; }", "exit 1 }"),
    ],
)
def test_typo_is_found(ci: str, right: str, wrong: str, rendered: Render, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    found = 0
    for path in copy(rendered(ci=ci, use_kubernetes=True), folder).rglob("*.yml"):
        text = path.read_text("utf-8")
        found += text.count(right)
        path.write_text(text.replace(right, wrong, 1), encoding="utf-8")

    assert found
    assert next(filter(None, complaints(tmp_path)))


@pytest.mark.parametrize("answers", DEPLOYING, ids=label)
def test_deployment_needs_every_check(answers: Answers, rendered: Render) -> None:
    all_jobs = jobs(rendered(**answers))
    chosen = {"kubernetes"} if answers["use_kubernetes"] else set()
    chosen |= {answers["cloud"].removesuffix("-ecs")} - {"none"}

    assert set(all_jobs) == CHECKS | deploys(all_jobs)
    assert {name.partition("-")[0] for name in deploys(all_jobs)} == chosen
    for name in deploys(all_jobs):
        earlier = before(name, all_jobs)
        assert earlier >= CHECKS
        stage = all_jobs[name]["environment"]
        assert stage == ("staging" if name.endswith("-staging") else "production")
        if name.endswith("-production"):
            assert name.replace("production", "staging") in earlier
        if answers["ci"] == "github":
            assert all_jobs[name]["concurrency"] == name
            first = min(earlier - CHECKS, default=name)
            assert all_jobs[first]["if"] == "github.event_name == 'push'"
        else:
            assert all_jobs[name]["resource_group"] == name
            when = {"when": "manual"} if stage == "production" else {}
            assert all_jobs[name]["rules"] == [{"if": PUSH, **when}]


@pytest.mark.parametrize("answers", DEPLOYING, ids=label)
def test_jobs_have_minimal_permissions(answers: Answers, rendered: Render) -> None:
    project = rendered(**answers)
    pushes = answers["use_kubernetes"] or answers["cloud"] == "aws-ecs"
    if answers["ci"] == "gitlab":
        assert ("--push" in (project / JOBS).read_text("utf-8")) == pushes
        assert {name for name, job in jobs(project).items() if "id_tokens" in job} == {
            name for name in jobs(project) if name.startswith("aws-")
        }
        return
    content = yaml.safe_load((project / WORKFLOW).read_text("utf-8"))
    given = {
        name: job["permissions"] for name, job in content["jobs"].items() if "permissions" in job
    }

    assert content["permissions"] == {"contents": "read"}
    assert given.pop("build", None) == (
        {"contents": "read", "packages": "write"} if pushes else None
    )
    assert given == {
        name: {"contents": "read", "id-token": "write", "packages": "read"}
        for name in content["jobs"]
        if name.startswith("aws-")
    }


def test_credentials_outlast_the_job_timeout(rendered: Render) -> None:
    project = rendered(cloud="aws-ecs", ci="github")
    account = yaml.safe_load((project / "deploy" / "aws" / "account.yaml").read_text("utf-8"))
    longest = account["Resources"]["DeployRole"]["Properties"]["MaxSessionDuration"]

    for name in deploys(jobs(project)):
        job = jobs(project)[name]
        [lasting] = [
            step["with"]["role-duration-seconds"]
            for step in job["steps"]
            if "role-to-assume" in step.get("with", {})
        ]
        assert job["timeout-minutes"] * 60 <= lasting <= longest


@pytest.mark.parametrize("answers", ALONE, ids=label)
def test_versions_agree(answers: Answers, rendered: Render) -> None:
    project = rendered(**answers)
    compose = yaml.safe_load((project / "compose.yaml").read_text("utf-8"))["services"]
    services = jobs(project)["test"].get("services", {})
    images = (
        {one["image"] for one in services.values()}
        if isinstance(services, dict)
        else {one["name"] for one in services}
    )

    assert images == {
        service["image"] for name, service in compose.items() if name in {"postgres", "redis"}
    }
    if answers["ci"] == "github":
        text = (project / WORKFLOW).read_text("utf-8")
        uses = re.findall(r"uses: (.+)", text)
        assert all(
            re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", one) for one in uses
        )
        assert len(set(uses)) == len({one.partition("@")[0] for one in uses})


NAMES = {
    "kubernetes": {"KUBECONFIG"},
    "aws": {"AWS_REGION", "AWS_ROLE_ARN"},
    "heroku": {"HEROKU_API_KEY", "HEROKU_APP"},
    "railway": {"RAILWAY_TOKEN"},
    "render": {"RENDER_DEPLOY_HOOK_URL"},
}
WORKER_NAMES = {"RENDER_DEPLOY_HOOK_URL_WORKER"}


@pytest.mark.parametrize("answers", DEPLOYING, ids=label)
def test_readme_lists_required_variables_and_secrets(answers: Answers, rendered: Render) -> None:
    project = rendered(**answers)
    targets = {name.partition("-")[0] for name in deploys(jobs(project))}
    expected = set[str]().union(*(NAMES[target] for target in targets))
    if answers["cloud"] == "render" and answers["use_worker"]:
        expected |= WORKER_NAMES
    section = (project / "README.md").read_text("utf-8").partition("### The pipeline\n")[2]

    assert (
        set(re.findall(r"^\| `(\w+)` \|", section.partition("\n## ")[0], re.MULTILINE)) == expected
    )
    if answers["ci"] == "github":
        used = re.findall(r"(?:secrets|vars)\.(\w+)", (project / WORKFLOW).read_text("utf-8"))
        assert {*used} - {"GITHUB_TOKEN"} == expected


COMMANDS = ("apk", "aws", "chmod", "curl", "docker", "gh", "git", "kubectl", "npx", "python", "uvx")
STUB = """#!/bin/sh
echo "$(basename "$(dirname "$0")")/$(basename "$0") $*" >>"$LOG"
case "$*" in
  *get-caller-identity*) echo 123456789012 ;;
  "api repos/team/orders/commits/main "*) echo "$HEAD" ;;
  *) cat >/dev/null </dev/null ;;
esac
"""
GITLAB = {
    "AWS_REGION": "eu-central-1",
    "AWS_TOKEN": "token",
    "CI_COMMIT_SHA": SHA,
    "CI_REGISTRY": "registry.gitlab.com",
    "CI_REGISTRY_IMAGE": "registry.gitlab.com/team/orders",
    "CI_REGISTRY_PASSWORD": "password",
    "CI_REGISTRY_USER": "user",
    "HEROKU_API_KEY": "HEROKU_API_KEY",
    "HEROKU_APP": "HEROKU_APP",
    "RENDER_DEPLOY_HOOK_URL": "RENDER_DEPLOY_HOOK_URL",
    "RENDER_DEPLOY_HOOK_URL_WORKER": "RENDER_DEPLOY_HOOK_URL_WORKER",
}


@pytest.mark.parametrize("answers", DEPLOYING, ids=label)
def test_deploy_runs_the_commands_of_the_platform(
    answers: Answers, rendered: Render, tmp_path: Path
) -> None:
    project = recording(rendered(**answers), tmp_path)
    registry = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"
    image = f"registry.gitlab.com/team/orders:{SHA}"
    if answers["ci"] == "github":
        registry, image = "registry", "image"
    services = ["web", "worker"] if answers["use_worker"] else ["web"]
    hooks = ["", "_WORKER"] if answers["use_worker"] else [""]
    expected = {
        "heroku": ["bin/git push https://git.heroku.com/HEROKU_APP.git HEAD:refs/heads/main"],
        "railway": [f"bin/npx --yes @railway/cli@5 up --ci --service {one}" for one in services],
        "render": [
            "bin/curl --fail --silent --show-error --request POST "
            f"RENDER_DEPLOY_HOOK_URL{hook}&ref={SHA}"
            for hook in hooks
        ],
    }
    for stage in ("staging", "production"):
        name = f"{stage}-orders:{SHA}"
        expected[f"kubernetes-{stage}"] = [f"kubernetes/deploy.sh {stage} {image}"]
        expected[f"aws-{stage}"] = [
            f"bin/docker buildx imagetools create --tag {registry}/{name} {image}",
            f"aws/deploy.sh {stage} {SHA}",
        ]

    for job in deploys(jobs(project)):
        code, done = deploy(project, job, tmp_path)

        assert code == 0
        assert [line for line in done if line in expected[job]] == expected[job]
        if job == "heroku":
            secret = tmp_path / ".netrc"
            assert (
                secret.read_text()
                == "machine git.heroku.com login heroku password HEROKU_API_KEY\n"
            )
            assert secret.stat().st_mode & 0o77 == 0


@pytest.mark.parametrize(
    "answers", [answers for answers in DEPLOYING if answers["ci"] == "github"], ids=label
)
def test_older_commit_is_not_deployed_after_a_newer_one(
    answers: Answers, rendered: Render, tmp_path: Path
) -> None:
    project = recording(rendered(**answers), tmp_path)
    asked = "bin/gh api repos/team/orders/commits/main --jq .sha"

    # Heroku refuses such a push by itself; production follows staging of the same run.
    for job in deploys(jobs(project)):
        code, done = deploy(project, job, tmp_path, HEAD=SHA[::-1])
        if job == "heroku" or job.endswith("-production"):
            assert code == 0
            assert asked not in done
        else:
            assert code == 1
            assert done == [asked]


def recording(project: Path, folder: Path) -> Path:
    """Replace the commands of a render's pipeline by stubs that log their arguments."""
    target = folder / "project"
    target.mkdir()
    copy(project, target)
    stubs = [folder / "bin" / name for name in COMMANDS]
    for stub in [*stubs, *target.glob("deploy/*/deploy.sh")]:
        stub.parent.mkdir(exist_ok=True)
        stub.write_text(STUB, encoding="utf-8")
        stub.chmod(0o755)
    return target


def deploy(project: Path, job: str, folder: Path, **given: str) -> tuple[int, list[str]]:
    """Run a job of such a copy: its exit code, and the commands in their order."""
    log = folder / f"{job}.log"
    env = variables(project, job, folder) | {
        "HEAD": SHA,
        "HOME": str(folder),
        "LOG": str(log),
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
    }
    shell = tool("bash" if (project / WORKFLOW).exists() else "sh")
    command = [shell, "-eu", "-c", scripts(project)[job]]
    done = subprocess.run(command, cwd=project, env=env | given, check=False)
    return done.returncode, log.read_text("utf-8").splitlines()


def variables(project: Path, name: str, folder: Path) -> dict[str, str]:
    """Return the environment of a job, with the last word of each expression as its value."""
    job = jobs(project)[name]
    if "steps" not in job:
        own = {key: str(value) for key, value in job.get("variables", {}).items()}
        if "AWS_WEB_IDENTITY_TOKEN_FILE" in own:
            own["AWS_WEB_IDENTITY_TOKEN_FILE"] = str(folder / "token")
        return GITLAB | own | {"CI_ENVIRONMENT_NAME": job["environment"]}
    given = job.get("env", {}) | {
        key: value for step in job["steps"] for key, value in step.get("env", {}).items()
    }
    plain = {
        key: re.sub(
            r"\$\{\{ [\w.]*?(\w+) \}\}", r"\1", value.replace("${{ runner.temp }}", str(folder))
        )
        for key, value in given.items()
    }
    return plain | {
        "GITHUB_REF_NAME": "main",
        "GITHUB_REPOSITORY": "team/orders",
        "GITHUB_SHA": SHA,
    }
