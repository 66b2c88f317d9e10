"""Names of every kind render a correct project, or are rejected in one sentence."""

import ast
import itertools
import json
import keyword
import re
import tomllib
import zipfile
from pathlib import Path, PurePosixPath

import pytest
from cookiecutter.exceptions import FailedHookException
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftest import Render
from harness import environ, run, uv
from questions import QUESTIONS, min_max_configurations
from render_checks import find_problems
from rendering import Files, load_hook, rendered

# Letters of any script, signs, and pieces of syntax that could break files.
LETTERS = st.characters(categories=["L", "M", "N", "P", "S", "Z"])
PIECES = st.sampled_from(["'", '"', "\\", "#", ": ", "{x}", "$(x)", "`", "<b>", "\t", "\n", "é"])
# cookiecutter renders answers as templates, and fails if they are not valid ones.
TEMPLATE_SYNTAX = re.compile(r"\{[{%#]")
TEXT = (
    st.lists(LETTERS | PIECES, max_size=40)
    .map("".join)
    .filter(lambda text: not TEMPLATE_SYNTAX.search(text))
)
WORDS = st.from_regex(r"[a-z][a-z0-9]{0,7}([-_ ][a-z0-9]{1,7}){0,5}", fullmatch=True)
EMAIL = st.emails() | WORDS.map(lambda word: f"{word}@example.com") | TEXT
NAMES = st.fixed_dictionaries(
    {},
    optional={
        "project_name": TEXT | WORDS,
        "description": TEXT,
        "author_name": TEXT,
        "author_email": EMAIL,
        "project_slug": WORDS,
        "package_name": WORDS | st.sampled_from([*keyword.kwlist, *keyword.softkwlist]),
    },
)
LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")  # RFC 1123 section 2.1
LARGEST = min_max_configurations("postgresql")[1] | {"use_kubernetes": True}


@settings(
    max_examples=60,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(names=NAMES)
def test_names_render_a_correct_project_or_are_rejected(
    names: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        files = rendered(**LARGEST, **names)
    except FailedHookException:
        said = capsys.readouterr().err.splitlines()
        assert said
        assert all(line.split()[0] in QUESTIONS for line in said)
        return
    assert find_problems(files) == []
    assert_named(files, names)


def assert_named(files: Files, names: dict[str, str]) -> None:
    """Check that the names are rendered unchanged and are valid for the tools that read them."""
    project = tomllib.loads(files[PurePosixPath("pyproject.toml")].decode())["project"]
    [command] = project["scripts"]
    package = project["scripts"][command].partition(".")[0]
    source = files[PurePosixPath(f"src/{package}/__init__.py")].decode()
    constants = {
        ast.unparse(node.targets[0]): ast.literal_eval(node.value)
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign)
    }

    assert LABEL.fullmatch(command)
    assert package.isidentifier()
    assert not keyword.iskeyword(package)
    assert project["description"] == names.get("description", project["description"])
    assert project["authors"][0]["name"] == names.get("author_name", project["authors"][0]["name"])
    assert constants["TITLE"] == names.get("project_name", QUESTIONS["project_name"])


# Names in the running service

LOCAL_PARTS = """
ada a.b a_b o'brien+x -x a--b a- A .a a. a..b a@b a%b a!b ü "a" a\\b
"""
DOMAINS = """
example.com EXAMPLE.COM a.b.c.example.co.uk x.museum 1.com 1-2.com a.b-c a.b2c a.b--c a--b.com
corp.local CORP.LOCAL local.com x.test test.com x.localhost localhost x.invalid x.onion x.arpa
1.0.0.127.in-addr.arpa x.example x.1 x.1a x.a1 127.0.0.1 [127.0.0.1] ab--c.com a.xx--y.com
xn--bcher-kva.com xn--a.com XN--BCHER-KVA.com -a.com a-.com a.-com a.com- a..com .a.com a.com.
a_b.com bücher.com a.рф a,b.com
"""
# Addresses that the hook rejects although the service accepts them.
STRICTER = re.compile(r"-.*|.*[^\w.@+'-].*|.*[^\x00-\x7f].*|.*\bxn--.*", re.IGNORECASE)
ACCEPTS = """
import json, sys
from pydantic import TypeAdapter, ValidationError
from orders.schemas import Email
from orders.settings import Settings

def accepts(address):
    try:
        TypeAdapter(Email).validate_python(address)
        Settings(database_url="postgresql://x/x", mail_from=address)
    except ValidationError:
        return False
    return True

print(json.dumps([accepts(address) for address in json.load(sys.stdin)]))
"""


def test_address_is_accepted_if_settings_and_commands_accept_it(
    render: Render, environment: Path
) -> None:
    long = ["a" * 63, "a" * 64, "a" * 65, ".".join(["a" * 60] * 4)]
    local_parts = [*LOCAL_PARTS.split(), *long, "", "a b"]
    domains = [*DOMAINS.split(), *(f"{label}.com" for label in long), ""]
    addresses = ["@".join(parts) for parts in itertools.product(local_parts, domains)]
    addresses += ["ada", "ada@example.com\n", " ada@example.com", "Ada <ada@example.com>"]
    project = render(use_worker=True)
    python = str(environment / "bin" / "python")

    said = run(
        [python, "-c", ACCEPTS],
        cwd=project,
        env=environ(project, environment),
        stdin=json.dumps(addresses),
    )

    problem = load_hook("pre_gen_project").problem_with_email
    service = dict(zip(addresses, json.loads(said), strict=True))
    for address, accepted in service.items():
        if problem(address) is None:
            assert accepted, address
        elif accepted:
            assert STRICTER.fullmatch(address), address


# The longest names that the hook accepts, with every sign that it accepts.
ODD_NAMES = {
    "project_name": "Ω, #1: it's & 100% «ü» [x] @home / ? = + * ~ | ; ' (日本) end",
    "description": "- A: b, 'c' # d & e; % f @ g! | h ~ i * j = k, [l] (m) «ñ» ? / ^ + " + "x" * 53,
    "author_name": "Doe, Ada; O'Hara: (x) [y] @z / ü & 日本 # % " + "w" * 36,
    "author_email": f"o'brien+x@{'a' * 63}.example.co.uk",
    "project_slug": "1-" * 24 + "bc",
    "package_name": "app_" + "1_" * 24 + "bc",
}
STARTS = """
import asyncio, sys
from importlib import import_module
main, settings = (import_module(f"{sys.argv[1]}.{name}") for name in ("main", "settings"))
app = main.create_app(settings.Settings())
print(app.openapi()["info"]["title"])
"""


def test_service_with_unusual_names_starts_and_builds(
    render: Render, environment: Path, tmp_path: Path
) -> None:
    sqlite = {"database": "sqlite", "use_worker": False, "use_kubernetes": False}
    project = render(**ODD_NAMES, **{**LARGEST, **sqlite})
    python = str(environment / "bin" / "python")
    env = environ(project, environment, ENVIRONMENT="local", REDIS_URL="redis://127.0.0.1:1/0")

    title = run([python, "-c", STARTS, ODD_NAMES["package_name"]], cwd=project, env=env)
    run([uv(), "build", "--quiet", "--wheel", "--out-dir", str(tmp_path)], cwd=project)

    assert title.strip() == ODD_NAMES["project_name"]
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        [metadata] = [name for name in archive.namelist() if name.endswith("/METADATA")]
        text = archive.read(metadata).decode()
    assert f"Summary: {ODD_NAMES['description']}\n" in text
    assert f" <{ODD_NAMES['author_email']}>\n" in text
