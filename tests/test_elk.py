"""The mapping of log lines against the Elastic Common Schema."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import Render
from ecs import SCHEMA
from questions import label


def mapped_fields(project: Path) -> dict[str, str]:
    """The fields of the index template with their types."""

    def fields(properties: dict[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
        for name, field in properties.items():
            if "properties" in field:
                yield from fields(field["properties"], f"{prefix}{name}.")
            else:
                yield prefix + name, field["type"]

    template = json.loads((project / "deploy/logging/template.json").read_text("utf-8"))
    return dict(fields(template["template"]["mappings"]["properties"], ""))


@pytest.mark.parametrize("answers", [{}, {"database": "sqlite"}], ids=label)
def test_mapping_follows_the_elastic_common_schema(answers: dict[str, Any], render: Render) -> None:
    mapped = mapped_fields(render(**answers, use_elk=True))

    assert mapped.items() <= SCHEMA.items()
