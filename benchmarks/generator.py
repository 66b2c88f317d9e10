"""How long it takes to generate a project, beside a template of one file.

    python benchmarks/generator.py [--rounds 15]

Runs cookiecutter as its command line does, in turn: a template of one file, which is the floor;
this one without its hooks; with them; and with git, too. What the lock takes depends on the network
and is left out. The differences show where the time goes.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TEMPLATE = Path(__file__).parent.parent


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=15, help="rounds for each")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        single = folder / "single" / "{{cookiecutter.project_slug}}"
        single.mkdir(parents=True)
        (single / "file").write_text("{{cookiecutter.project_slug}}\n")
        (single.parent / "cookiecutter.json").write_text('{"project_slug": "my-service"}\n')
        scripts = tempfile.mkdtemp(dir=folder)
        config = folder / "config.yaml"
        config.write_text(f"replay_dir: {folder}\ncookiecutters_dir: {folder}\n")
        variants = {
            "one file": (single.parent, "no", "lock,git"),
            "this template without hooks": (TEMPLATE, "no", "lock,git"),
            "and hooks": (TEMPLATE, "yes", "lock,git"),
            "and git": (TEMPLATE, "yes", "lock"),
        }
        took: dict[str, list[float]] = {variant: [] for variant in variants}
        for number in range(-1, options.rounds):  # the first round warms up
            for variant, (template, hooks, skipped) in variants.items():
                command = [sys.executable, "-m", "cookiecutter", "--no-input", "--accept-hooks"]
                command += [hooks, "--config-file", str(config), str(template)]
                command += ["--output-dir", tempfile.mkdtemp(dir=folder)]
                began = time.perf_counter()
                subprocess.run(
                    command,
                    # Hooks run from the temporary folder: what else lies there is looked through.
                    env=os.environ | {"TEMPLATE_SKIP": skipped, "TMPDIR": scripts},
                    stdout=subprocess.DEVNULL,
                    check=True,
                )
                if number >= 0:
                    took[variant].append(time.perf_counter() - began)
    floor = took["one file"]
    for variant, measured in took.items():
        over = [one - base for one, base in zip(measured, floor, strict=True)]
        print(
            f"{variant:30}{statistics.median(measured):6.2f} s, least {min(measured):.2f} s, "
            f"{statistics.median(over):5.2f} s over one file"
        )


if __name__ == "__main__":
    main()
