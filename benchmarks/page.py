"""A report's page beside another revision's: how fast it opens, and what it weighs.

    python -m benchmarks.page --against REVISION

Both revisions write the page of the same made-up study of 2,000 trials (``benchmarks.report``), the
other one from `git archive`. Then a headless Chromium opens the two in turn, each time in a new
window of 1280 x 800 without a network, and notes when something is painted first and when every
chart has its marks: since the navigation began, and painted, which takes two frames more.
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from shutil import which
from statistics import median
from typing import NamedTuple

from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.paired import table_head, table_line
from benchmarks.report import NAME, mebibytes
from study.journal import StudyHome

ROOT = Path(__file__).parent.parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FASTER, LIGHTER = 2.0, 0.5
"""What is asked of the page: ratios of the time until all is drawn, and of the weight."""
DRAWN = """
const marks = ".mark-symbol *, .mark-line *, .mark-rect *, .mark-rule *, .mark-area *";
const drawn = () => {
  const charts = [...document.querySelectorAll(".chart")];
  const all = charts.length && charts.every((chart) => chart.querySelector(marks));
  if (document.readyState !== "complete" || !all) return requestAnimationFrame(drawn);
  const painted = () => { window.allDrawn = performance.now(); };
  requestAnimationFrame(() => requestAnimationFrame(painted));
};
drawn();
"""


class Opened(NamedTuple):
    """Milliseconds since the navigation began."""

    first_paint: float
    drawn: float


def write_page(tree: Path, home: Path, sizes: Sequence[str]) -> Path:
    """The page of the made-up study, as the code in ``tree`` writes it."""
    command = [sys.executable, "-m", "benchmarks.report", "--runs", "1", "--keep", str(home)]
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    subprocess.run(
        [*command, *sizes], cwd=tree, env=environment, stdout=subprocess.DEVNULL, check=True
    )
    return StudyHome(home, NAME).page


def check_out(revision: str, folder: Path) -> Path:
    """The files of ``revision``, in ``folder``."""
    archive = subprocess.run(
        ["git", "archive", revision], cwd=ROOT, stdout=subprocess.PIPE, check=True
    )
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(folder, filter="data")
    return folder


@contextmanager
def opened(browser: Browser, page: Path) -> Iterator[Page]:
    """``page`` in a window of its own, once all is drawn."""
    context = browser.new_context(offline=True, viewport={"width": 1280, "height": 800})
    window = context.new_page()
    window.add_init_script(DRAWN)
    window.goto(page.as_uri(), wait_until="commit", timeout=0)
    window.wait_for_function("() => window.allDrawn", timeout=0)
    yield window
    context.close()


def time_of(browser: Browser, page: Path) -> Opened:
    """How long ``page`` takes to open."""
    with opened(browser, page) as window:
        painted = window.evaluate("performance.getEntriesByName('first-paint')[0].startTime")
        return Opened(painted, window.evaluate("window.allDrawn"))


def line(name: str, ours: Sequence[float], theirs: Sequence[float], target: float | None) -> str:
    """Medians of both, and the median and range of their ratio round by round."""
    ratios = sorted(b / a for a, b in zip(ours, theirs, strict=True))
    middle = median(ratios)
    judged = "" if target is None else f">= {target:g} {'met' if middle >= target else 'MISSED'}"
    return table_line(
        name,
        f"{median(ours):,.0f}",
        f"{median(theirs):,.0f}",
        f"{middle:.2f}",
        f"{ratios[0]:.2f}-{ratios[-1]:.2f}",
        judged,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--against", default="HEAD", help="the other revision (default HEAD)")
    parser.add_argument("--trials", type=int, default=2000, help="of the study (default 2000)")
    parser.add_argument("--reports", type=int, default=20, help="reports a trial (default 20)")
    parser.add_argument("--rounds", type=int, default=9, help="openings of each (default 9)")
    parser.add_argument("--toy", action="store_true", help="a few trials: whether it runs at all")
    options = parser.parse_args()
    program = next(filter(None, map(which, BROWSERS)), None)
    if program is None:
        raise SystemExit(f"no browser: one of {', '.join(BROWSERS)} has to be installed")
    sizes = ["--trials", str(options.trials), "--reports", str(options.reports)]
    if options.toy:
        sizes = ["--toy"]
    with tempfile.TemporaryDirectory(prefix="page-") as folder, sync_playwright() as playwright:
        other = check_out(options.against, Path(folder, "revision"))
        ours = write_page(ROOT, Path(folder, "ours"), sizes)
        theirs = write_page(other, Path(folder, "theirs"), sizes)
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        times: dict[Path, list[Opened]] = {ours: [], theirs: []}
        for number in range(2 if options.toy else options.rounds + 1):
            for page in (ours, theirs) if number % 2 else (theirs, ours):
                times[page].append(time_of(browser, page))
        browser.close()
        weights = [[1024 * mebibytes(page)] for page in (ours, theirs)]
    first, second = (found[1:] for found in times.values())  # the first of each warms up
    print(table_head(["the page", "this", options.against, "ratio", "range", "target"]))
    print(
        line("ms to the first paint", *([t.first_paint for t in s] for s in (first, second)), None)
    )
    print(line("ms until all is drawn", *([t.drawn for t in s] for s in (first, second)), FASTER))
    print(line("KiB", *weights, 1 / LIGHTER))


if __name__ == "__main__":
    main()
