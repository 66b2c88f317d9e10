"""The mapping of log lines against the Elastic Common Schema."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import Render
from support import label

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
def test_mapping_is_that_of_the_schema(answers: dict[str, Any], render: Render) -> None:
    mapped = mapped_fields(render(**answers, use_elk=True))

    assert mapped.items() <= SCHEMA.items()
