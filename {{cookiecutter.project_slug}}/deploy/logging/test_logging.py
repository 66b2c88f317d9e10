"""Check that logging, Filebeat, Elasticsearch and Kibana use the same field names."""

import errno
import json
import logging
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
import yaml

from {{ cookiecutter.package_name }}.logging import FIELDS, configure_logging
from {{ cookiecutter.package_name }}.settings import Settings

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
STREAM = "logs-{{ cookiecutter.package_name }}-default"
TEMPLATE = json.loads((HERE / "template.json").read_text(encoding="utf-8"))
KIBANA = (HERE / "kibana.ndjson").read_text(encoding="utf-8")
OBJECTS = [json.loads(line) for line in KIBANA.splitlines()]
PYTHON_TYPES = {
    "date": str,
    "ip": str,
    "keyword": str,
    "long": int,
    "match_only_text": str,
    "object": dict,
    "wildcard": str,
}


def fields(properties: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the name and type of every field of a mapping."""
    for name, field in properties.items():
        if "properties" in field:
            yield from fields(field["properties"], f"{prefix}{name}.")
        else:
            yield prefix + name, field["type"]


MAPPED = dict(fields(TEMPLATE["template"]["mappings"]["properties"]))


@pytest.fixture
def line(capsys: pytest.CaptureFixture[str]) -> Iterator[dict[str, Any]]:
    """Return a log line with every field that the service can log."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    configure_logging(Settings.model_construct(environment="test", log_format="json"))
    sample = dict.fromkeys(FIELDS, "1") | {"status": 200, "duration": 1, "address": "127.0.0.1"}
    for name in ("timestamp", "level", "logger", "event", "exception"):
        sample.pop(name)
    try:
        raise FileNotFoundError(errno.ENOENT, sys.platform)
    except FileNotFoundError:
        structlog.stdlib.get_logger("test").exception("failed", **sample, count=1)
    yield json.loads(capsys.readouterr().out)
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


def test_every_logged_field_is_mapped_to_its_type(line: dict[str, Any]) -> None:
    assert line.keys() == MAPPED.keys()
    for name, value in line.items():
        assert type(value) is PYTHON_TYPES[MAPPED[name]], name


def test_shipper_template_and_policy_name_the_same_data_stream() -> None:
    filebeat = yaml.safe_load((HERE / "filebeat.yml").read_text(encoding="utf-8"))
    [pattern] = TEMPLATE["index_patterns"]
    policy = TEMPLATE["template"]["settings"]["index.lifecycle.name"]
    setup = (HERE / "setup.sh").read_text(encoding="utf-8")

    assert filebeat["output.elasticsearch"]["index"] == STREAM
    assert STREAM.startswith(pattern.removesuffix("*"))
    assert f'_ilm/policy/{policy}"' in setup
    assert set(re.findall(r"@(\S+?\.\w*json)", setup)) == {
        path.name for path in HERE.glob("*.*json")
    }


def test_log_lines_of_this_service_are_shipped(line: dict[str, Any]) -> None:
    filebeat = yaml.safe_load((HERE / "filebeat.yml").read_text(encoding="utf-8"))
    [source] = filebeat["filebeat.inputs"]
    [processor] = source["processors"]

    [(name, value)] = processor["drop_event"]["when"]["not"]["equals"].items()
    assert line[name] == value


def test_kibana_uses_only_mapped_fields() -> None:
    known = {(one["type"], one["id"]) for one in OBJECTS}
    text = json.dumps(OBJECTS)
    shown = set(re.findall(r"\"sourceField\": \"([\w.@]+)\"", text))
    queried = set(re.findall(r"([\w.]+)(?=:\s?\(?\w+| >= )", " ".join(queries())))

    assert len(known) == len(OBJECTS)
    assert {(one["type"], one["id"]) for each in OBJECTS for one in each["references"]} <= known
    for name in (shown | queried) - {"___records___"}:
        assert name in MAPPED or name.startswith("labels."), name


def queries() -> list[str]:
    """Return the queries of the saved objects, in the Kibana Query Language."""
    found = []
    for one in OBJECTS:
        attributes = one["attributes"]
        source = attributes.get("kibanaSavedObjectMeta", {}).get("searchSourceJSON", "{}")
        state = attributes.get("state", json.loads(source))
        found.append(state.get("query", {}).get("query", ""))
    return found


def test_compose_mounts_files_that_exist() -> None:
    services = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]
    parts = {name: one for name, one in services.items() if one.get("profiles") == ["logging"]}
    tags = {one["image"].rpartition(":")[2] for one in parts.values()}

    assert parts.keys() == {"elasticsearch", "kibana", "logging-setup", "filebeat"}
    assert len(tags) == 1
    for part in parts.values():
        assert part["networks"] == ["logging"]
        for volume in part.get("volumes", []):
            source = volume.partition(":")[0]
            assert not source.startswith("./") or (ROOT / source).exists(), source
