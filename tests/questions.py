"""The template's questions, and the combinations of answers that the tests render."""

import itertools
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

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

# Whether to render every combination, and to run every application: `--thorough` and `--all` on
# the command line, before the tests are collected.
every_render = every_application = False

Answers = dict[str, Any]


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


def pairwise(questions: Iterable[str]) -> list[Answers]:
    """Of the possible combinations of answers, the nearest to the defaults first, those to trust.

    Each answer with as little else as it needs and with as much else as it bears, and then any two
    answers that go together, in some combination.
    """
    possible = sorted(product(questions), key=_distance_from_defaults)
    chosen: list[Answers] = []
    for name in possible[0]:
        for answer in choices(name):
            fitting = [answers for answers in possible if answers[name] == answer]
            chosen += [one for one in (fitting[0], fitting[-1]) if one not in chosen]
    missing = set[Any]().union(*map(_pairs, possible)) - set[Any]().union(*map(_pairs, chosen))
    while missing:
        chosen.append(max(possible, key=lambda answers: len(missing & _pairs(answers))))
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
    chosen = product if every_render else pairwise
    return [next(others) | one for one in chosen(name for name in asked if name in features)]


def applications() -> list[Answers]:
    """The answers that make each distinct application."""
    return (product if every_application else pairwise)(APPLICATION_QUESTIONS)


def min_max_configurations() -> list[Answers]:
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
