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

# The only questions whose answers change the application, which test_combination checks.
APPLICATION_QUESTIONS = (
    "database",
    "use_redis",
    "use_worker",
    "use_admin",
    "use_prometheus",
    "use_opentelemetry",
    "use_sentry",
)

Answers = dict[str, Any]


def choices(question: str) -> list[Any]:
    """Return the answers to a multiple-choice question, the default first; none for a text."""
    default = QUESTIONS[question]
    if isinstance(default, bool):
        return [default, not default]
    return list(default) if isinstance(default, list) else []


def product(questions: Iterable[str]) -> list[Answers]:
    """Return every possible combination of the answers to these questions."""
    names = list(questions)
    combined = itertools.product(*(choices(name) for name in names))
    every = (dict(zip(names, answers, strict=True)) for answers in combined)
    return [answers for answers in every if is_possible(answers)]


def is_possible(answers: Answers) -> bool:
    """Return whether the hook accepts this combination."""
    needs_postgresql = (
        answers.get("use_worker")
        or answers.get("use_kubernetes")
        or answers.get("cloud", "none") != "none"
    )
    return not (needs_postgresql and answers.get("database") == "sqlite")


def pairwise(questions: Iterable[str]) -> list[Answers]:
    """Return possible combinations in which any two answers that can meet, meet.

    The first are each answer with as many defaults as possible, and with as few.
    """
    possible = sorted(product(questions), key=_distance_from_defaults)
    chosen: list[Answers] = []
    for name in possible[0]:
        for answer in choices(name):
            with_answer = [answers for answers in possible if answers[name] == answer]
            chosen += [one for one in (with_answer[0], with_answer[-1]) if one not in chosen]
    missing = set[Any]().union(*map(_pairs, possible)) - set[Any]().union(*map(_pairs, chosen))
    while missing:
        chosen.append(max(possible, key=lambda answers: len(missing & _pairs(answers))))
        missing -= _pairs(chosen[-1])
    return chosen


def _distance_from_defaults(answers: Answers) -> int:
    return sum(answer != choices(name)[0] for name, answer in answers.items())


def _pairs(answers: Answers) -> set[Any]:
    return set(itertools.combinations(answers.items(), 2))


def alternatives(feature: str) -> list[Answers]:
    """Return the sets of answers, each of which turns a feature of the manifest on."""
    when = FEATURES[feature]["when"]
    return when if isinstance(when, list) else [when]


def combinations(*, every: bool) -> list[Answers]:
    """Return the combinations of features, every one or pairwise.

    The answers to the other questions (license, Python) take turns.
    """
    features = {name for feature in FEATURES for when in alternatives(feature) for name in when}
    asked = [name for name in QUESTIONS if choices(name)]
    others = itertools.cycle(product(name for name in asked if name not in features))
    choose = product if every else pairwise
    return [next(others) | one for one in choose(name for name in asked if name in features)]


def configurations(*, every: bool) -> list[Answers]:
    """Return the answers that make distinct applications, every one or pairwise."""
    return (product if every else pairwise)(APPLICATION_QUESTIONS)


def min_max_configurations(database: str | None = None) -> list[Answers]:
    """Return for each database, or this one, the configurations with no feature and with all."""
    chosen = []
    for name in [database] if database else choices("database"):
        possible = [one for one in product(APPLICATION_QUESTIONS) if one["database"] == name]
        chosen += [choose(possible, key=_distance_from_defaults) for choose in (min, max)]
    return chosen


# No feature on SQLite, all on PostgreSQL: the applications with the fewest and the most packages.
MIN_AND_MAX = [min_max_configurations("sqlite")[0], min_max_configurations("postgresql")[1]]


def label(answers: Answers) -> str:
    """Return a test's id for these answers: what they ask for, in the order of the questions."""
    given = answers.items()
    words = (name.removeprefix("use_") if answer is True else answer for name, answer in given)
    return "-".join(str(word) for word in words if word)
