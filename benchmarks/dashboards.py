"""Draw the dashboards as Prometheus answers their panels, into docs/images/.

For machines where Grafana cannot run.

    python benchmarks/dashboards.py [--seconds 120]

Needs matplotlib, which is no dependency of the template, and Prometheus; renders the service with
everything, puts it to work, and asks for what each panel asks for.
"""

import argparse
import json
import logging
import math
import secrets
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.ticker import EngFormatter, PercentFormatter

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from cache import render

from harness import POSTGRES, REDIS, Server, environ, requirements, shared_environment
from monitoring import Watched, load, migrate, watch
from questions import TEMPLATE

UNITS = {"s": "s", "bytes": "B", "Bps": "B/s", "reqps": "/s", "ops": "/s", "cps": "/s"}
COLUMN, ROW = 0.5, 0.33  # inches of a unit of the grid


def main() -> None:
    """Draw."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=120, help="length of the load")
    options = parser.parse_args()
    logging.disable()
    features = ("use_redis", "use_worker", "use_admin", "use_prometheus")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        project = render(folder / "project", **dict.fromkeys(features, True))
        environment = shared_environment(requirements(project))
        postgres, redis = Server(environment, POSTGRES), Server(environment, REDIS)
        stack.callback(postgres.close)
        stack.callback(redis.close)
        urls = {"DATABASE_URL": postgres.database(), "REDIS_URL": redis.database()}
        settings = environ(project, environment, **urls) | {
            "BCRYPT_ROUNDS": "10",
            "LOGIN_ATTEMPTS": "1000000",
            "LOGIN_ATTEMPTS_PER_ADDRESS": "1000000",
            "RATE_LIMIT": "1000000",
            "REDIS_TIMEOUT": "5",
            "SECRET_KEY": secrets.token_urlsafe(48),
        }
        migrate(project, settings)
        processes = ["worker"]
        watched = stack.enter_context(watch(project, settings, processes, folder))
        started = time.time()
        load(watched.service, options.seconds)
        for file in sorted((project / "deploy/monitoring/grafana/dashboards").iterdir()):
            draw(json.loads(file.read_text("utf-8")), watched, started)


def draw(dashboard: dict[str, Any], watched: Watched, started: float) -> None:
    """Write the picture of one dashboard."""
    panels = dashboard["panels"]
    height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    figure = plt.figure(figsize=(24 * COLUMN, height * ROW), facecolor="#f4f5f5")
    for panel in panels:
        place = panel["gridPos"]
        bottom = 1 - (place["y"] + place["h"]) / height
        box = [place["x"] / 24, bottom, place["w"] / 24, place["h"] / height]
        room = 0.62 if panel["type"] == "timeseries" else 0.5
        axes = figure.add_axes(
            (
                box[0] + 0.045 * box[2] + 0.02,
                box[1] + 0.24 * box[3],
                0.9 * box[2] - 0.02,
                room * box[3],
            )
        )
        axes.set_title(panel["title"], loc="left", fontsize=8, fontweight="bold")
        fill(axes, panel, watched, started)
    figure.savefig(TEMPLATE / "docs" / "images" / f"monitoring-{dashboard['uid']}.png", dpi=70)
    plt.close(figure)


def fill(axes: Any, panel: dict[str, Any], watched: Watched, started: float) -> None:
    """Draw one panel."""
    unit = panel["fieldConfig"]["defaults"]["unit"]
    percent = unit == "percentunit"
    formatter = PercentFormatter(1) if percent else EngFormatter(UNITS.get(unit, ""), places=None)
    if panel["type"] == "stat":
        axes.axis("off")
        values = [
            float(one["value"][1]) for t in panel["targets"] for one in watched.query(t["expr"])
        ]
        shown = [f"{value:.3%}" if percent else f"{value:.1f}" for value in values]
        axes.text(0, 0.4, "   ".join(shown), fontsize=16, color="#1a7f37", va="center")
        return
    for target in panel["targets"]:
        expression = target["expr"].replace("$__rate_interval", "10s")
        span = {"start": str(started), "end": str(time.time()), "step": "2"}
        for series in watched.ask("query_range", query=expression, **span)["result"]:
            labels = " ".join(value for name, value in sorted(series["metric"].items()))
            name = labels if target["legendFormat"] == "__auto" else target["legendFormat"]
            points = [(t - started, float(v)) for t, v in series["values"] if v != "NaN"]
            if points and not math.isnan(points[-1][1]):
                axes.plot(*zip(*points, strict=True), linewidth=1, label=name)
    axes.yaxis.set_major_formatter(formatter)
    axes.set_ylim(bottom=0)
    axes.tick_params(labelsize=6)
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend(fontsize=5, loc="upper left", ncols=2)
    else:
        axes.text(0.5, 0.5, "no data", transform=axes.transAxes, ha="center", fontsize=8)


if __name__ == "__main__":
    main()
