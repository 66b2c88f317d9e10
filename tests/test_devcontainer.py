"""The development container has the project's Python, installs with uv and forwards the port.

The schema of devcontainer.json is public but in no package; these are the properties and types that
https://containers.dev/implementors/json_reference/ documents.
"""

import json
from pathlib import Path

import pytest

from conftest import Render
from harness import environ, run
from questions import choices

PROPERTIES = {
    "name": str,
    "image": str,
    "postCreateCommand": str,
    "forwardPorts": list,
    "customizations": dict,
}
PORT = "import orders.settings; print(orders.settings.Settings.model_fields['port'].default)"


@pytest.mark.parametrize("version", choices("python_version"))
def test_file_has_documented_properties_and_the_python_of_the_project(
    version: str, render: Render
) -> None:
    project = render(python_version=version)
    content = json.loads((project / ".devcontainer" / "devcontainer.json").read_text("utf-8"))

    assert {name: type(value) for name, value in content.items()} == PROPERTIES
    assert content["name"] == "Orders"
    assert content["image"].rpartition(":")[2] == version
    assert set(content["customizations"]["vscode"]) == {"extensions", "settings"}


def test_port_is_the_default_of_the_service(render: Render, environment: Path) -> None:
    project = render()
    content = json.loads((project / ".devcontainer" / "devcontainer.json").read_text("utf-8"))
    python = str(environment / "bin" / "python")

    said = run([python, "-c", PORT], cwd=project, env=environ(project, environment))

    assert content["forwardPorts"] == [int(said)]
