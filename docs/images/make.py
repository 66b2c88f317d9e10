# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "cookiecutter>=2.7.1,<3",
#     "filelock>=4.2,<5",
#     "httpx2>=2.16,<3",
#     "matplotlib>=3.10,<4",
#     "pexpect>=4.9,<5",
#     "pillow>=12,<13",
#     "playwright>=1.65,<2",
#     "pytest>=9.2,<10",
#     "pyyaml>=6.0.3,<7",
#     "rich>=15,<16",
#     "uv>=0.13,<1",
# ]
# ///
"""Make the pictures of the documentation from running services.

    uv run docs/images/make.py [terminal | service] [--seconds 120]

- terminal.svg records the commands of the README. It needs port 8000.
- docs.png and admin.png are screenshots. They need Chromium: the one on PATH, or the one that
  `playwright install chromium` installs.
- monitoring-*.png show the dashboards under load. matplotlib draws what Prometheus returns for the
  queries of the panels, so Grafana is not needed. They need Prometheus and Alertmanager.
"""

import argparse
import io
import json
import logging
import math
import os
import secrets
import shutil
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pexpect
from PIL import Image
from playwright.sync_api import Browser, sync_playwright
from rich.console import Console
from rich.text import Text

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.ticker import EngFormatter, Formatter, PercentFormatter, StrMethodFormatter

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from cache import render

from harness import (
    POSTGRES,
    REDIS,
    Server,
    clean_environ,
    environ,
    requirements,
    run,
    shared_environment,
    uv,
)
from monitoring import Watched, load, migrate, watch
from questions import TEMPLATE

IMAGES = Path(__file__).parent
COLUMNS = 124
RENDER = "uvx cookiecutter gh:OWNER/cookiecutter-fastapi-service --no-input"
SERVE = "uv run poe dev"
REQUESTS = (
    """curl localhost:8000/api/v1/users --json \\
    '{"email": "ada@example.com", "password": "analytical-engine-1843"}'""",
    "curl localhost:8000/health/ready",
)
EMAIL, PASSWORD = "ada@example.com", "analytical-engine-1843"
PEOPLE = (
    "Charles Babbage",
    "Emmy Noether",
    "Grace Hopper",
    "Joan Clarke",
    "Kurt Gödel",
    "Sofja Kowalewskaja",
)
FEATURES = ("use_redis", "use_worker", "use_admin", "use_prometheus")
COLUMN, ROW = 0.55, 0.42  # inches of a unit of the grid


def main() -> None:
    """Make the pictures that the command line names, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("picture", nargs="?", choices=("terminal", "service"))
    parser.add_argument("--seconds", type=float, default=120, help="length of the load")
    options = parser.parse_args()
    logging.disable()
    if options.picture != "service":
        record_terminal()
    if options.picture != "terminal":
        show_service(options.seconds)


def record_terminal() -> None:
    """Render a project, serve it and send requests, and record what a terminal shows."""
    with tempfile.TemporaryDirectory() as temporary:
        config = Path(temporary) / "cookiecutter.yaml"
        # The recorded command renders this clone, so that it does not depend on a release.
        config.write_text(
            f"abbreviations:\n  gh: '{TEMPLATE}'\n"
            f"replay_dir: {temporary}\ncookiecutters_dir: {temporary}\n"
        )
        folder = Path(temporary) / "ada"
        folder.mkdir()
        env = clean_environ(TEMPLATE / "{{cookiecutter.project_slug}}") | {
            "COOKIECUTTER_CONFIG": str(config),
            "PATH": f"{Path(uv()).parent}{os.pathsep}{os.environ['PATH']}",
            "UV_NO_PROGRESS": "1",
        }
        shown = Console(
            record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, highlight=False
        )

        def show(command: str, output: str) -> None:
            text = output.replace("\r\n", "\n")
            for home in (folder, Path.home()):
                text = text.replace(str(home), "/home/ada")
            shown.print(f"[bold green]$[/] [bold]{command}[/]")
            shown.print(Text.from_ansi(text.strip("\n")))

        def start(command: str, cwd: Path) -> Any:
            size = (40, COLUMNS)
            return pexpect.spawn(
                "bash", ["-c", command], cwd=cwd, env=env, dimensions=size, encoding="utf-8"
            )

        show(RENDER, finish(start(RENDER, folder)))
        project = folder / "orders"
        shown.print("\n[bold green]$[/] [bold]cd orders[/]")
        service = start(SERVE, project)
        service.expect("Application startup complete.*\n", timeout=300)
        show(SERVE, service.before + service.after)
        shown.print("\n[dim]# in another terminal[/]")
        for command in REQUESTS:
            show(command, finish(start(command, project)))
        service.sendintr()
        finish(service)
        shown.save_svg(str(IMAGES / "terminal.svg"), title="A new service")


def finish(child: Any) -> str:
    """Return the output of a command when it has ended."""
    child.expect(pexpect.EOF, timeout=300)
    output: str = child.before
    return output


def show_service(seconds: float) -> None:
    """Take pictures of the pages of a service and of its dashboards."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        project = render(folder / "project", **dict.fromkeys(FEATURES, True))
        environment = shared_environment(requirements(project))
        postgres, redis = Server(environment, POSTGRES), Server(environment, REDIS)
        stack.callback(postgres.close)
        stack.callback(redis.close)
        urls = {"DATABASE_URL": postgres.database(), "REDIS_URL": redis.database()}
        settings = environ(project, environment, **urls) | {
            "BCRYPT_ROUNDS": "10",
            "ENVIRONMENT": "local",
            "LOGIN_ATTEMPTS": "1000000",
            "LOGIN_ATTEMPTS_PER_ADDRESS": "1000000",
            "RATE_LIMIT": "1000000",
            "REDIS_TIMEOUT": "5",
            "SECRET_KEY": secrets.token_urlsafe(48),
        }
        migrate(project, settings)
        python = str(environment / "bin" / "python")
        create = [python, "-m", "orders.cli", "create-admin", EMAIL, "--password", PASSWORD]
        run(create, cwd=project, env=settings)
        watched = stack.enter_context(watch(project, settings, ["worker"], folder))
        take_screenshots(watched)
        started = time.time()
        load(watched.service, seconds)
        for file in sorted((project / "deploy/monitoring/grafana/dashboards").iterdir()):
            draw(json.loads(file.read_text("utf-8")), watched, started)


def take_screenshots(watched: Watched) -> None:
    """Take screenshots of the documentation page and of the list of users in the admin pages."""
    with watched.service.client() as client:
        for name in PEOPLE:
            email = f"{name.split()[0].lower()}@example.com"
            account = {"email": email, "full_name": name, "password": PASSWORD}
            client.post("/api/v1/users", json=account).raise_for_status()
    with sync_playwright() as playwright:
        names = ("chromium", "chromium-browser", "google-chrome")
        found = next(filter(None, map(shutil.which, names)), playwright.chromium.executable_path)
        browser = playwright.chromium.launch(
            executable_path=found, args=["--no-sandbox", "--disable-gpu"]
        )
        screenshot_docs(browser, watched.service.url)
        screenshot_admin(browser, watched.service.url)
        browser.close()


def screenshot_docs(browser: Browser, url: str) -> None:
    """Take a screenshot of the documentation page."""
    page = browser.new_page(viewport={"width": 1200, "height": 760}, base_url=url)
    page.goto("/docs")
    page.wait_for_selector(".opblock")
    page.screenshot(path=IMAGES / "docs.png")
    shrink(IMAGES / "docs.png")


def screenshot_admin(browser: Browser, url: str) -> None:
    """Take a screenshot of the list of users."""
    page = browser.new_page(viewport={"width": 1560, "height": 660}, base_url=url)
    page.goto("/admin")
    page.fill("[name=username]", EMAIL)
    page.fill("[name=password]", PASSWORD)
    page.click("button[type=submit]")
    page.wait_for_selector("tbody tr")
    page.wait_for_load_state("networkidle")
    page.screenshot(path=IMAGES / "admin.png")
    shrink(IMAGES / "admin.png")


def shrink(file: Path) -> None:
    """Reduce a picture to 256 colors."""
    with Image.open(file) as image:
        image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(file, optimize=True)


def draw(dashboard: dict[str, Any], watched: Watched, started: float) -> None:
    """Write the picture of one dashboard."""
    panels = dashboard["panels"]
    height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    figure = plt.figure(figsize=(24 * COLUMN, height * ROW), facecolor="#f4f5f5")
    for panel in panels:
        place = panel["gridPos"]
        left, width = place["x"] / 24, place["w"] / 24
        bottom, unit = 1 - (place["y"] + place["h"]) / height, place["h"] / height
        axes = figure.add_axes((left + 0.045, bottom + 0.3 * unit, width - 0.06, 0.56 * unit))
        axes.set_title(panel["title"], loc="left", fontsize=10, fontweight="bold")
        fill(axes, panel, watched, started)
    file = IMAGES / f"monitoring-{dashboard['uid']}.png"
    figure.savefig(file, dpi=90)
    plt.close(figure)
    shrink(file)


def fill(axes: Any, panel: dict[str, Any], watched: Watched, started: float) -> None:
    """Draw one panel."""
    unit = panel["fieldConfig"]["defaults"]["unit"]
    if panel["type"] == "stat":
        axes.axis("off")
        values = [
            float(one["value"][1]) for t in panel["targets"] for one in watched.query(t["expr"])
        ]
        shown = [f"{value:.3%}" if unit == "percentunit" else f"{value:.1f}" for value in values]
        axes.text(0, 0.5, "   ".join(shown), fontsize=18, color="#1a7f37", va="center")
        return
    for target in panel["targets"]:
        expression = target["expr"].replace("$__rate_interval", "10s")
        span = {"start": str(started), "end": str(time.time()), "step": "2"}
        for series in watched.ask("query_range", query=expression, **span)["result"]:
            labels = " ".join(value for name, value in sorted(series["metric"].items()))
            name = labels if target["legendFormat"] == "__auto" else target["legendFormat"]
            points = [(t - started, float(v)) for t, v in series["values"] if v != "NaN"]
            if points and not math.isnan(points[-1][1]):
                axes.plot(*zip(*points, strict=True), linewidth=1.2, label=name)
    axes.yaxis.set_major_formatter(formatter(unit))
    axes.set_ylim(bottom=0)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend(
            fontsize=7,
            loc="upper left",
            bbox_to_anchor=(0, -0.12),
            ncols=panel["gridPos"]["w"] // 4,
            frameon=False,
        )
    else:
        axes.text(0.5, 0.5, "no data", transform=axes.transAxes, ha="center", fontsize=9)


def formatter(unit: str) -> Formatter:
    """Return the formatter of a unit of Grafana."""
    if unit == "percentunit":
        return PercentFormatter(1)
    if unit in {"s", "bytes", "Bps"}:
        return EngFormatter({"s": "s", "bytes": "B", "Bps": "B/s"}[unit])
    return StrMethodFormatter("{x:g}/s" if unit in {"reqps", "ops", "cps"} else "{x:g}")


if __name__ == "__main__":
    main()
