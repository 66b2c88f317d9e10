"""The tables of docs/reference are those of the code; `pytest --update` writes them."""

import re
from pathlib import Path

import pytest

from conftest import Render
from questions import TEMPLATE
from reference import TABLE, Table, tables

# One worker makes the tables.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("reference")]
PAGES = sorted((TEMPLATE / "docs" / "reference").glob("*.md"))


@pytest.fixture(scope="session", name="tables")
def _tables(render: Render, environment: Path) -> dict[str, Table]:
    """Return every table by its name."""
    return tables(render, environment)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_page_has_the_tables_of_the_code(
    page: Path, tables: dict[str, Table], pytestconfig: pytest.Config
) -> None:
    def generate(block: re.Match[str]) -> str:
        table = tables[block["name"]].markdown(block["content"])
        return f"<!-- {block['name']} -->\n\n{table}\n<!-- end -->"

    text = page.read_text("utf-8")
    generated = TABLE.sub(generate, text)
    if pytestconfig.getoption("update"):
        page.write_text(generated, "utf-8")
        text = generated

    assert text == generated
    for block in TABLE.finditer(text):
        if tables[block["name"]].written:
            assert "|  |\n" not in block["content"], "write the last column by hand"


def test_every_table_is_in_a_page(tables: dict[str, Table]) -> None:
    found = [name for page in PAGES for name in re.findall(TABLE, page.read_text("utf-8"))]

    assert sorted(name for name, _ in found) == sorted(tables)
