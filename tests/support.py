"""What the tests know of the template: its questions, its manifest, its files, its renders."""

import ast
import functools
import itertools
import json
import posixpath
import re
import tomllib
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

TEMPLATE = Path(__file__).parent.parent
PROJECT = TEMPLATE / "{{cookiecutter.project_slug}}"
CONTEXT: dict[str, Any] = json.loads((TEMPLATE / "cookiecutter.json").read_text("utf-8"))
QUESTIONS = {name: default for name, default in CONTEXT.items() if not name.startswith("_")}
FEATURES: dict[str, dict[str, Any]] = CONTEXT["_features"]

# The only questions whose answers may change the application; every combination's test proves it.
APPLICATION_QUESTIONS = (
    "database",
    "use_redis",
    "use_worker",
    "use_admin",
    "use_prometheus",
    "use_opentelemetry",
    "use_sentry",
)
APPLICATION_FOLDERS = ("src", "tests", "migrations")

# Types of the Elastic Common Schema 9.2, from its field reference.
SCHEMA = {
    "@timestamp": "date",
    "client.ip": "ip",
    "ecs.version": "keyword",
    "error.message": "match_only_text",
    "error.stack_trace": "wildcard",
    "error.type": "keyword",
    "event.duration": "long",
    "http.request.id": "keyword",
    "http.request.method": "keyword",
    "http.response.status_code": "long",
    "labels": "object",
    "log.level": "keyword",
    "log.logger": "keyword",
    "message": "match_only_text",
    "service.environment": "keyword",
    "service.name": "keyword",
    "service.version": "keyword",
    "span.id": "keyword",
    "trace.id": "keyword",
    "url.path": "wildcard",
    "user.id": "keyword",
    "user_agent.original": "keyword",
}

# Whether to test every combination: `--all` on the command line, before the tests are collected.
everything = False

Answers = dict[str, Any]
Files = dict[PurePosixPath, bytes]


def choices(question: str) -> list[Any]:
    """The answers to a question that offers a choice; none for a text."""
    default = QUESTIONS[question]
    if isinstance(default, bool):
        return [default, not default]
    return list(default) if isinstance(default, list) else []


def product(questions: Iterable[str]) -> list[Answers]:
    """Every possible combination of the answers to these questions."""
    names = list(questions)
    every = (
        dict(zip(names, answers, strict=True))
        for answers in itertools.product(*(choices(name) for name in names))
    )
    return [answers for answers in every if is_possible(answers)]


def is_possible(answers: Answers) -> bool:
    """Whether the hook accepts this combination."""
    if answers.get("use_worker") and not answers.get("use_redis"):
        return False
    platform = answers.get("use_kubernetes") or answers.get("cloud", "none") != "none"
    return not (platform and answers.get("database") == "sqlite")


def selection(questions: Iterable[str]) -> list[Answers]:
    """Of every possible combination of the answers enough to trust a change; with `--all` each."""
    every = sorted(product(questions), key=_distance_from_defaults)
    return every if everything else covering(every)


def covering(every: list[Answers]) -> list[Answers]:
    """Of combinations, the one nearest to the defaults first, those that show most.

    Each answer with as little else as it needs and with as much else as it bears, and then any two
    answers that go together, in some combination.
    """
    chosen: list[Answers] = []
    for name in every[0]:
        for answer in choices(name):
            fitting = [answers for answers in every if answers[name] == answer]
            chosen += [one for one in (fitting[0], fitting[-1]) if one not in chosen]
    missing = set[Any]().union(*map(_pairs, every)) - set[Any]().union(*map(_pairs, chosen))
    while missing:
        chosen.append(max(every, key=lambda answers: len(missing & _pairs(answers))))
        missing -= _pairs(chosen[-1])
    return chosen


def _distance_from_defaults(answers: Answers) -> int:
    return sum(answer != choices(name)[0] for name, answer in answers.items())


def _pairs(answers: Answers) -> set[Any]:
    return set(itertools.combinations(answers.items(), 2))


def combinations() -> list[Answers]:
    """The combinations of features, under all combinations of the other choices in turn."""
    features = {question for feature in FEATURES.values() for question in feature["when"]}
    asked = [name for name in QUESTIONS if choices(name)]
    others = itertools.cycle(product(name for name in asked if name not in features))
    return [next(others) | one for one in selection(name for name in asked if name in features)]


def applications() -> list[Answers]:
    """The answers that make each distinct application."""
    return selection(APPLICATION_QUESTIONS)


def extremes() -> list[Answers]:
    """Of the applications those with every option and those with none."""
    return [
        answers
        for answers in applications()
        if len({answer for answer in answers.values() if isinstance(answer, bool)}) == 1
    ]


def label(answers: Answers) -> str:
    """A combination as a test's id: the answers in the order of the questions."""
    given = answers.items()
    words = (name.removeprefix("use_") if answer is True else answer for name, answer in given)
    return "-".join(str(word) for word in words if word)


def is_on(feature: str, answers: Answers) -> bool:
    """Whether a feature of the manifest belongs to a render of these answers."""
    when: Answers = FEATURES[feature]["when"]
    return when.items() <= answers.items()


def owns(pattern: str, path: PurePosixPath) -> bool:
    """Whether a path of the manifest is this file, or a folder around it."""
    parts = pattern.split("/")
    return len(parts) <= len(path.parts) and all(map(fnmatchcase, path.parts, parts))


def template_paths(package: str = "orders") -> set[PurePosixPath]:
    """Every file of the template, named as a render of this package names it."""
    return {
        PurePosixPath(
            path.relative_to(PROJECT).as_posix().replace("{{cookiecutter.package_name}}", package)
        )
        for path in PROJECT.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def expected_paths(answers: Answers) -> set[PurePosixPath]:
    """The files that a render of these answers has according to the manifest."""
    pruned = [
        pattern
        for name, feature in FEATURES.items()
        if not is_on(name, answers)
        for pattern in feature["paths"]
    ]
    kept = {path for path in template_paths() if not any(owns(p, path) for p in pruned)}
    return kept | {PurePosixPath(".env")}


def read(project: Path) -> Files:
    """Every file of a render except git's own and the lock file."""
    return {
        PurePosixPath(path.relative_to(project).as_posix()): path.read_bytes()
        for path in sorted(project.rglob("*"))
        if path.is_file() and ".git" not in path.parts and path.name != "uv.lock"
    }


def without_secrets(project: Path) -> Files:
    """Every file of a render, and of `.env` only that it is there: two renders must agree."""
    return read(project) | {PurePosixPath(".env"): b""}


def application(files: Files) -> Files:
    """The part of a render that is the application, its tests and its migrations."""
    return {path: data for path, data in files.items() if path.parts[0] in APPLICATION_FOLDERS}


def found_marks(files: Files, feature: str) -> list[str]:
    """Where the words (regular expressions) that betray a feature stand, in names or contents."""
    return [
        f"{path}: {mark}" for path, data in files.items() for mark in _marks(feature, path, data)
    ]


@functools.cache
def _marks(feature: str, path: PurePosixPath, data: bytes) -> list[str]:
    text = f"{path}\n".encode() + data
    return [mark for mark in FEATURES[feature]["marks"] if re.search(mark.encode(), text.lower())]


def flaws(files: Files) -> list[str]:
    """What a careful engineer would not have left in these files."""
    found = [f"{path}: {flaw}" for path, data in files.items() for flaw in _flaws(path, data)]
    for path, data in files.items():
        if path.suffix == ".md":
            found += [
                f"{path}: links to {target}, which is not there"
                for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", data.decode())
                if not any(
                    other.is_relative_to(posixpath.normpath(path.parent / target))
                    for other in files
                )
            ]
    return found


@functools.cache
def _flaws(path: PurePosixPath, data: bytes) -> list[str]:
    return list(_flaws_of_text(path, data.decode("utf-8")))


def _flaws_of_text(path: PurePosixPath, text: str) -> Iterator[str]:
    if not text:
        if path.name not in {"__init__.py", "py.typed"}:
            yield "is empty"
        return
    if "\r" in text:
        yield "has a carriage return"
    if not text.endswith("\n") or text.endswith("\n\n"):
        yield "does not end with one newline"
    if text.startswith("\n") or "\n\n\n\n" in text:
        yield "has blank lines at its beginning, or three in a row"
    if re.search(r"[ \t]\n", text):
        yield "has trailing blanks"
    # ${{ }} is an expression of a workflow, {{resolve: }} of CloudFormation, {{ .x }} of Go; in an
    # f-string {{ }} are two braces.
    braces = r"" if path.suffix == ".py" else r"|(?<!\$)\{\{(?! [.$]|resolve:secretsmanager:)"
    if residue := re.search(rf"cookiecutter|\{{%|\{{#{braces}", text, re.IGNORECASE):
        yield f"has {residue[0]} left from the template"
    try:
        _parse(path, text)
    except (SyntaxError, ValueError, yaml.YAMLError) as error:
        yield f"does not parse: {error}"


def _parse(path: PurePosixPath, text: str) -> None:
    match path.suffix:
        case ".py":
            ast.parse(text, feature_version=(3, 11))
        case ".toml":
            tomllib.loads(text)
        case ".json":
            json.loads(text)
        case ".yaml" | ".yml":
            list(yaml.safe_load_all(text))
