"""The version at hand beside an earlier one: whole studies, waits, memory, reports, data.

    python -m benchmarks.against 8dd1b86 --only digits fashion_mlp --pairs 5

The revision is unpacked beside and run with the packages of this environment. Both sides do the
same, in turn, each in a folder of its own that is thrown away, and take turns at going first. A
figure is wall-clock seconds of a process, unless its row says otherwise; ratios are of today's to
the other's, pair by pair. Beside them, in the same turn, is what the libraries take by themselves
(:mod:`benchmarks.floor`), where a program over them is known that does nothing of its own.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import numpy as np
import psutil
import yaml
from PIL import Image
from ray.cluster_utils import Cluster

from benchmarks.baselines.works import DATA_ROOT, WORKS, Work
from benchmarks.floor import FIRST_STEP
from benchmarks.paired import table_head, table_line

HERE = Path(__file__).parents[1]
AT_LEAST = {"trials/s": 2.19}
"""By row, how many times the other's the figure is to be; for all others see :data:`AT_MOST`."""
AT_MOST = {
    "digits": 0.55,
    "fashion_mlp": 0.75,
    "fashion_conv": 0.80,
    "quickstart": 0.47,
    "resume": 0.5,
    "seconds from the last trial to the driver's end": 0.16,
    "driver's MiB at the peak": 0.57,
    "report, seconds": 0.49,
    "report, MiB at the peak": 0.67,
    "prepare": 0.46,
    "MiB of the driver": 0.7,
    "MiB of an engine": 0.7,
}
"""By row, what share of the other's the figure may be."""
LIBRARIES = "libraries alone"
UNSET = ("MLFLOW_TRACKING_URI", "PYTHONDONTWRITEBYTECODE")
"""Variables that a version is not run with: its own database, and its modules compiled once."""
INTERVAL = 0.2
"""Seconds between two measurements of memory."""
JPEGS, SIDE = 20_000, 64
"""Files that ``prepare`` decodes, and their side."""


@dataclass(frozen=True)
class Tree:
    """A version's files."""

    name: str
    path: Path

    @property
    def environment(self) -> dict[str, str]:
        """That of processes that import the version."""
        kept = {name: value for name, value in os.environ.items() if name not in UNSET}
        return {**kept, "PYTHONPATH": str(self.path)}

    def start(self, folder: Path, *command: str) -> subprocess.Popen[str]:
        """Run ``python command`` on them; what it prints is in ``folder``/log."""
        with (folder / "log").open("a") as log:
            return subprocess.Popen(
                [sys.executable, *command], cwd=folder, env=self.environment,
                stdout=log, stderr=log, text=True,
            )  # fmt: skip

    def run(self, folder: Path, *command: str) -> float:
        """The same, to its end; returns its seconds.

        Raises:
            SystemExit: it failed.
        """
        start = time.perf_counter()
        process = self.start(folder, *command)
        if process.wait():
            raise SystemExit(f"{self.name} failed:\n{(folder / 'log').read_text()[-4000:]}")
        return time.perf_counter() - start


Figures = dict[str, float]
Case = Callable[[Tree, Path, argparse.Namespace], Figures]


def work_of(name: str, options: argparse.Namespace) -> Work:
    return WORKS[name].toy() if options.toy else WORKS[name]


def study(folder: Path, spec: Mapping[str, Any]) -> list[str]:
    """The command that launches ``spec`` in ``folder``."""
    file = folder / "study.yaml"
    file.write_text(yaml.safe_dump(dict(spec)))
    command = ["-m", "study", "launch", str(file), "--home", str(folder / "studies")]
    if spec["data"]["name"] != "digits":
        command += ["--data-root", str(DATA_ROOT)]
    return command


def whole(name: str) -> Case:
    """A whole study of :mod:`benchmarks.baselines.works`."""

    def case(tree: Tree, folder: Path, options: argparse.Namespace) -> Figures:
        spec = work_of(name.replace("_", "-"), options).study()
        return {name: tree.run(folder, *study(folder, spec))}

    return case


def quickstart(tree: Tree, folder: Path, options: argparse.Namespace) -> Figures:
    """The shipped quickstart."""
    file = str(tree.path / "search_spaces" / "quickstart.yaml")
    fewer = ["--set", "training.epochs=1"] if options.toy else []
    command = ["-m", "study", "launch", file, "--home", str(folder / "studies"), *fewer]
    return {"quickstart": tree.run(folder, *command)}


def memory(tree: Tree, folder: Path, options: argparse.Namespace) -> Figures:
    """Proportional set sizes at their peak during the digits' study."""
    return peaks(tree, folder, study(folder, work_of("digits", options).study()))


def peaks(tree: Tree, folder: Path, command: list[str]) -> Figures:
    """Those of ``command``'s process, and of the engines that Ray starts for it."""
    process = tree.start(folder, *command)
    highest: Figures = {"MiB of the driver": 0.0, "MiB of an engine": 0.0}
    while process.poll() is None:
        for found in [psutil.Process(process.pid), *descendants(process.pid)]:
            with_pss = resident(found)
            if found.pid == process.pid:
                highest["MiB of the driver"] = max(highest["MiB of the driver"], with_pss)
            elif title(found).startswith("ray::Engine"):
                highest["MiB of an engine"] = max(highest["MiB of an engine"], with_pss)
        time.sleep(INTERVAL)
    if process.returncode:
        raise SystemExit(f"{tree.name} failed:\n{(folder / 'log').read_text()[-4000:]}")
    return highest


def descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def resident(process: psutil.Process) -> float:
    """MiB that are the process's own, shared ones in parts; 0 if it has ended."""
    try:
        return float(process.memory_full_info().pss) / 2**20
    except psutil.Error:
        return 0.0


def title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def first_step(tree: Tree, folder: Path, options: argparse.Namespace) -> Figures:
    """Until the first report of a trial that reports at once; Ray is running already."""
    with cluster(tree) as address:
        command = [*study(folder, short(options)), "--address", address]
        return {"first step": until_report(tree, folder, command)}


def resume(tree: Tree, folder: Path, options: argparse.Namespace) -> Figures:
    """Until the first report of the trial by which a finished study is extended."""
    tree.run(folder, *study(folder, short(options)))
    more = "arms.random-beta.search.trials=3"
    home = ["--home", str(folder / "studies")]
    command = ["-m", "study", "resume", "digits", *home, "--set", more]
    return {"resume": until_report(tree, folder, command)}


def short(options: argparse.Namespace) -> dict[str, Any]:
    """Two trials and a confirm run of the digits, with a report every step or two."""
    spec = work_of("digits", options).study()
    spec["training"] |= {"epochs": 1, "reports": 10}
    spec["seeds"] = [0]
    spec["arms"]["random-beta"]["search"]["trials"] = 2
    return spec


def until_report(tree: Tree, folder: Path, command: list[str]) -> float:
    """Seconds from the start of ``command`` until the journal holds one report more."""
    before = reports(folder)
    return until(lambda: reports(folder) > before, tree, folder, command)


def until(reached: Callable[[], bool], tree: Tree, folder: Path, command: list[str]) -> float:
    """Seconds from the start of ``command``, which is then waited for."""
    start = time.perf_counter()
    process = tree.start(folder, *command)
    while not reached():
        if process.poll():
            raise SystemExit(f"{tree.name} failed:\n{(folder / 'log').read_text()[-4000:]}")
        time.sleep(0.02)
    found = time.perf_counter() - start
    process.wait()
    return found


def reports(folder: Path) -> int:
    """Reports in the journals below ``folder``."""
    files = (folder / "studies").glob("*/journal*/*.log")
    return sum(len(re.findall(rb'"report"', path.read_bytes())) for path in files)


@contextmanager
def cluster(tree: Tree) -> Iterator[str]:
    """The address of a Ray with a core for each of this machine's; its workers import ``tree``."""
    with patch.dict(os.environ, tree.environment, clear=True):
        found = Cluster(initialize_head=True, head_node_args={"include_dashboard": False})
    try:
        yield found.address
    finally:
        found.shutdown()


def simulated(tree: Tree, folder: Path, options: argparse.Namespace) -> Figures:
    """``benchmarks.scale`` of each version."""
    size = ["--trials", "40", "--slots", "8", "--nodes", "2"] if options.toy else []
    tree.run(folder, "-m", "benchmarks.scale", *(size or ["--trials", str(options.trials)]))
    named = ("trials/s", "driver's MiB at the peak", "seconds to resume")
    end = "seconds from the last trial to the driver's end"
    return {name: printed(folder, name) for name in (*named, end)}


def report(tree: Tree, folder: Path, options: argparse.Namespace) -> Figures:
    """``benchmarks.report`` of each version."""
    size = ["--trials", "20", "--reports", "5"] if options.toy else []
    tree.run(folder, "-m", "benchmarks.report", *size)
    named = ("seconds", "MiB at the peak")
    return {f"report, {name}": printed(folder, name) for name in named}


def printed(folder: Path, row: str) -> float:
    """The figure in the row of that name of the table a benchmark has printed."""
    found = re.search(rf"^\| {re.escape(row)} \| ([\d.,]+)", (folder / "log").read_text(), re.M)
    if found is None:
        raise SystemExit(f"no row '{row}' in:\n{(folder / 'log').read_text()[-2000:]}")
    return float(found[1].replace(",", ""))


def prepare(tree: Tree, folder: Path, options: argparse.Namespace) -> Figures:
    """A folder of JPEG files made a dataset."""
    code = (
        "import sys; from pathlib import Path; from vae_core.data import prepare\n"
        "prepare({'name': 'folder', 'path': sys.argv[1]}, Path('store'))"
    )
    return {"prepare": tree.run(folder, "-c", code, str(jpegs(options)))}


def jpegs(options: argparse.Namespace) -> Path:
    """The folder of those files."""
    source: Path = options.scratch / "jpegs"
    if not source.exists():
        draw(source, 500 if options.toy else JPEGS)
    return source


def draw(folder: Path, count: int) -> None:
    """Write ``count`` blurred pictures."""
    generator = np.random.default_rng(0)
    for split, share in (("train", 0.9), ("test", 0.1)):
        (folder / split).mkdir(parents=True)
        for number in range(round(count * share)):
            rough = Image.fromarray(generator.integers(0, 256, (6, 6, 3), np.uint8))
            rough.resize((SIDE, SIDE)).save(folder / split / f"{number:06}.jpg", quality=90)


CASES: Mapping[str, Case] = {
    "digits": whole("digits"),
    "fashion_mlp": whole("fashion_mlp"),
    "fashion_conv": whole("fashion_conv"),
    "quickstart": quickstart,
    "memory": memory,
    "first_step": first_step,
    "resume": resume,
    "simulated": simulated,
    "report": report,
    "prepare": prepare,
}


def libraries(name: str, runs: int) -> Case:
    """A whole study's libraries, and as many runs in MLflow."""

    def case(tree: Tree, folder: Path, options: argparse.Namespace) -> Figures:
        return {name: tree.run(folder, *alone("study", str(folder), "--runs", str(runs)))}

    return case


def alone(*command: str) -> list[str]:
    """A command of :mod:`benchmarks.floor`."""
    return ["-m", "benchmarks.floor", *command]


def first_step_alone(tree: Tree, folder: Path, options: argparse.Namespace) -> Figures:
    """Until engines of torch alone, on a Ray that is running, have made a step."""
    with cluster(tree) as address:
        return {"first step": until_stepped(tree, folder, alone("engines", "--address", address))}


def resume_alone(tree: Tree, folder: Path, options: argparse.Namespace) -> Figures:
    """The same, where Ray has to be started."""
    return {"resume": until_stepped(tree, folder, alone("engines"))}


def until_stepped(tree: Tree, folder: Path, command: list[str]) -> float:
    """Seconds until :mod:`benchmarks.floor` has made its first step."""
    log = folder / "log"
    return until(lambda: log.exists() and FIRST_STEP in log.read_text(), tree, folder, command)


def memory_alone(tree: Tree, folder: Path, options: argparse.Namespace) -> Figures:
    """As :func:`memory`, of the libraries."""
    return peaks(tree, folder, alone("study", str(folder), "--runs", "40"))


def decoded_alone(tree: Tree, folder: Path, options: argparse.Namespace) -> Figures:
    """The files of :func:`prepare`, decoded by two processes and dropped."""
    return {"prepare": tree.run(folder, *alone("decode", str(jpegs(options))))}


FLOORS: Mapping[str, Case] = {
    "digits": libraries("digits", 40),
    "quickstart": libraries("quickstart", 67),
    "memory": memory_alone,
    "first_step": first_step_alone,
    "resume": resume_alone,
    "prepare": decoded_alone,
}
"""By case, the same of the libraries alone."""


def unpacked(revision: str, folder: Path) -> Tree:
    """The files of a revision of this repository, in ``folder``."""
    command = ["git", "-C", str(HERE), "archive", "--format=tar", revision]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr.decode())
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return Tree(revision, folder)


def compare(
    case: Case, sides: tuple[Tree, Tree], options: argparse.Namespace, floor: Case | None = None
) -> list[str]:
    """Lines of the table: one a figure."""
    cases = [(tree, case, tree.name) for tree in sides]
    if floor is not None:
        cases.append((sides[1], floor, LIBRARIES))
    found: dict[str, list[Figures]] = {called: [] for _, _, called in cases}
    for pair in range(1 if options.toy else options.pairs):
        for tree, run, called in cases[:: -1 if pair % 2 else 1]:
            with tempfile.TemporaryDirectory(dir=options.scratch) as folder:
                found[called].append(run(tree, Path(folder), options))
            print(f"{called}: {found[called][-1]}", file=sys.stderr, flush=True)
    theirs, ours = (found[tree.name] for tree in sides)
    lines = []
    for row in ours[0]:
        ratios = sorted(o[row] / t[row] for o, t in zip(ours, theirs, strict=True))
        bare = [figures[row] for figures in found.get(LIBRARIES, [])]
        lines.append(
            table_line(
                row,
                f"{median(t[row] for t in theirs):.2f}",
                f"{median(o[row] for o in ours):.2f}",
                f"{median(ratios):.2f}",
                f"{ratios[0]:.2f}-{ratios[-1]:.2f}",
                verdict(row, median(ratios)),
                f"{median(bare):.2f}" if bare else "",
            )
        )
    return lines


def verdict(name: str, ratio: float) -> str:
    """Whether the row's target is met; empty where it has none."""
    if name in AT_LEAST:
        return f">= {AT_LEAST[name]} {'met' if ratio >= AT_LEAST[name] else 'MISSED'}"
    if name in AT_MOST:
        return f"<= {AT_MOST[name]} {'met' if ratio <= AT_MOST[name] else 'MISSED'}"
    return ""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("revision", help="of this repository, to compare with")
    parser.add_argument("--only", nargs="+", choices=CASES, default=[*CASES], help="default: all")
    parser.add_argument("--pairs", type=int, default=5, help="runs of each side (default 5)")
    parser.add_argument("--trials", type=int, default=10_000, help="simulated (default 10,000)")
    parser.add_argument("--toy", action="store_true", help="small, and once: whether it runs")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="against-") as scratch:
        options.scratch = Path(scratch)
        before = unpacked(options.revision, options.scratch / "before")
        sides = (before, Tree("this version", HERE))
        print(table_head(["what", options.revision, "now", "ratio", "range", "target", LIBRARIES]))
        for name in options.only:
            print("\n".join(compare(CASES[name], sides, options, FLOORS.get(name))), flush=True)


if __name__ == "__main__":
    main()
