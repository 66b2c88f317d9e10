"""The manifest of features matches the template's files and questions."""

from pathlib import PurePosixPath

import pytest

from questions import FEATURES, QUESTIONS, alternatives, choices
from render_checks import find_forbidden_patterns, owns, template_paths
from rendering import rendered


@pytest.mark.parametrize("feature", FEATURES)
def test_feature_is_on_for_a_possible_answer(feature: str) -> None:
    assert set(FEATURES[feature]) == {"when", "paths", "forbidden_patterns"}
    for when in alternatives(feature):
        for question, answer in when.items():
            assert answer in choices(question)


@pytest.mark.parametrize("feature", FEATURES)
def test_every_path_of_a_feature_is_in_the_template(feature: str) -> None:
    for pattern in FEATURES[feature]["paths"]:
        assert any(owns(pattern, path) for path in template_paths()), pattern


@pytest.mark.parametrize("feature", FEATURES)
def test_every_forbidden_pattern_of_a_feature_is_in_a_render_with_it(feature: str) -> None:
    patterns = FEATURES[feature]["forbidden_patterns"]
    found = find_forbidden_patterns(rendered(**alternatives(feature)[0]), feature)

    assert patterns
    assert {line.rpartition(": ")[2] for line in found} == set(patterns)


@pytest.mark.parametrize(
    ("secret", "found"), [("pgqueuer" * 8, []), ("pgqueuer", [".env: pgqueuer"])]
)
def test_forbidden_pattern_in_a_secret_is_ignored(secret: str, found: list[str]) -> None:
    env = f"JWT_KEYS=\nSECRET_KEY={secret}\nPORT=8000\n".encode()

    assert find_forbidden_patterns({PurePosixPath(".env"): env}, "worker") == found


def test_every_choice_is_a_feature_or_means_none() -> None:
    conditions = [when for feature in FEATURES for when in alternatives(feature)]
    asked = {question for when in conditions for question in when}
    for question in asked & set(QUESTIONS):
        on = {when.get(question) for when in conditions}
        assert set(choices(question)) - on <= {"none", False}
