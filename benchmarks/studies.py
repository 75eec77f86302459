"""A whole study beside the programs one would write instead of it.

    python -m benchmarks.studies --work digits --runs 5

Each side is a process of its own and does the same work (:mod:`benchmarks.baselines.works`): as
many trials of the same model on the same images, as many reports of the validation loss. The sides
run in turn, each beginning a round as often as the others, and nothing is left of one for the next.
Seconds are the wall clock's, from the process's start to its exit. All on the CPU.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import pandas as pd
import yaml

from benchmarks.baselines.works import WORKS, Work, add_options
from benchmarks.paired import Comparison, table_head, table_line

OURS = "study launch"
BASELINES = ("loop", "pythae", "stock")
INSTALL = "pythae is left out: it is not installed (pip install --no-deps pythae imageio)"


class Side:
    """One of those that are timed, with its seconds in each round."""

    def __init__(self, name: str, work: Work, options: argparse.Namespace) -> None:
        self.name, self.seconds = name, list[float]()
        self._work, self._options = work, options

    def time(self) -> None:
        """Do the work once.

        Raises:
            SystemExit: it failed, or did not do all of it.
        """
        with TemporaryDirectory(prefix="studies-") as folder:
            home = Path(folder)
            command = self._launch(home) if self.name == OURS else self._baseline()
            start = time.perf_counter()
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, env=_environment()
            )
            self.seconds.append(time.perf_counter() - start)
            if done.returncode:
                raise SystemExit(f"{self.name} failed:\n{done.stderr[-4000:]}")
            made = _recorded(home / self._work.name) if self.name == OURS else _said(done.stdout)
        wanted = (self._work.trials, self._work.trials * self._work.epochs)
        if made != wanted:
            raise SystemExit(f"{self.name} made {made} trials and reports instead of {wanted}")

    def _launch(self, home: Path) -> list[str]:
        file = home / "study.yaml"
        file.write_text(yaml.safe_dump(self._work.study()))
        command = [sys.executable, "-m", "study", "launch", str(file), "--home", str(home)]
        if self._work.data == "digits":
            return command
        return [*command, "--data-root", str(self._options.data_root)]

    def _baseline(self) -> list[str]:
        command = [sys.executable, "-m", f"benchmarks.baselines.{self.name}"]
        command += ["--work", self._work.name, "--data-root", str(self._options.data_root)]
        return [*command, "--toy"] if self._options.toy else command


def _environment() -> dict[str, str]:
    """The caller's, without a tracking server: every side writes to a store of its own."""
    return {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}


def _recorded(home: Path) -> tuple[int, int]:
    records = pd.read_parquet(home / "records.parquet")
    return records["trial"].nunique(), len(records)


def _said(output: str) -> tuple[int, int]:
    done = json.loads(output.splitlines()[-1])
    return done["trials"], done["reports"]


def rows(sides: list[Side]) -> list[str]:
    """Lines of the table: medians and ranges of the seconds, and of their ratios to ours."""
    ours = sides[0].seconds
    lines = []
    for side in sides:
        ratios = Comparison(ours, side.seconds).ratios
        lines.append(
            table_line(
                side.name,
                f"{median(side.seconds):.1f}",
                f"{min(side.seconds):.1f}-{max(side.seconds):.1f}",
                f"{median(ratios):.2f}",
                f"{ratios[0]:.2f}-{ratios[-1]:.2f}",
            )
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add_options(parser)
    parser.add_argument("--runs", type=int, default=5, help="rounds (default 5)")
    parser.add_argument(
        "--against", nargs="+", choices=BASELINES, default=BASELINES, help="default: all"
    )
    options = parser.parse_args()
    work = WORKS[options.work].toy() if options.toy else WORKS[options.work]
    against = list(options.against)
    if "pythae" in against and find_spec("pythae") is None:
        print(INSTALL, file=sys.stderr)
        against.remove("pythae")
    sides = [Side(name, work, options) for name in (OURS, *against)]
    for index in range(1 if options.toy else options.runs):
        first = index % len(sides)
        for side in (*sides[first:], *sides[:first]):
            side.time()
            print(f"{side.name}: {side.seconds[-1]:.1f} s", file=sys.stderr, flush=True)
    title = f"{work.name}: {work.trials} trials of {work.epochs} epochs"
    print(table_head([title, "seconds", "range", "times ours", "range"]))
    print("\n".join(rows(sides)))


if __name__ == "__main__":
    main()
