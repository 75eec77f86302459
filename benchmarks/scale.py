"""The cost of a large study on a cluster: speed, memory, disk, and time to resume.

    python -m benchmarks.scale --trials 10000 --slots 64 --nodes 4

All of it is real except the engines, which sleep instead of training: the launch, a Ray cluster
whose nodes are processes of this machine, one engine a node, Tune, conductor, journal, MLflow in
SQLite. The search is random, a trial makes two reports. When the study is done `study report` is
timed, then the study is extended by a trial for each slot and launched again, by a new process: the
time until the first of them trains is the time to resume. The driver's memory is the resident set
of its process, without Ray's processes and the engines.
"""

from __future__ import annotations

import argparse
import sqlite3
import tempfile
import time
from bisect import bisect
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest.mock import patch

from ray.cluster_utils import Cluster

from benchmarks.paired import table_head, table_line
from benchmarks.report import judged, mebibytes, run_report
from benchmarks.stand_in import Sleeper, study_of, trials_a_second
from study.journal import Entry, StudyHome, read_entries
from study.journal.events import TrialEnded, TrialPlaced
from study.launching.beginning import beginning
from study.launching.driver import Options, run
from study.spec import StudySpec
from study.tracking.store import DATABASE

NAME, REPORTS = "scale", 2
RATE, MEMORY, REPORT, RESUME = 20.0, 2048, 60.0, 60.0
"""Targets: trials a second, at most MiB of the driver, at most seconds to report and to resume."""
INTERVAL = 0.2
"""Seconds between two measurements of the driver's memory."""


def drive(spec: dict[str, Any], studies: Path, address: str) -> None:
    """Launch a study as `study launch` does, with engines that sleep."""
    from study.scheduling import held

    with patch.object(held, "EngineActor", Sleeper), beginning(address) as aside:
        options = Options(StudyHome(studies, NAME), address=address)
        run(StudySpec.from_dict(spec), options, *aside)


@contextmanager
def cluster_of(nodes: int) -> Iterator[str]:
    """The address of a cluster with ``nodes`` nodes for an engine each, beside the head."""
    head = {"num_cpus": 0, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        for _ in range(nodes):
            cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        yield cluster.address
    finally:
        cluster.shutdown()


@dataclass(frozen=True)
class Launch:
    """One driver's life."""

    begun: float
    """When its process was started, in seconds since 1970."""
    memory: list[tuple[float, float]]
    """Its resident MiB, by the time."""

    def at(self, time: float) -> float:
        """Resident MiB at ``time``."""
        return self.memory[bisect(self.memory, (time, 0.0)) - 1][1]

    @property
    def ended(self) -> float:
        """When it was last measured."""
        return self.memory[-1][0]

    @property
    def peak(self) -> float:
        """Its greatest resident MiB."""
        return max(resident for _, resident in self.memory)


def launch(spec: StudySpec, studies: Path, address: str) -> Launch:
    """Drive a study to its end in a process of its own."""
    begun, memory = time.time(), []
    arguments = (spec.to_dict(), studies, address)
    driver = get_context("spawn").Process(target=drive, args=arguments)
    driver.start()
    while driver.is_alive():
        resident = _resident(driver.pid)
        if resident:
            memory.append((time.time(), resident))
        driver.join(INTERVAL)
    if driver.exitcode:
        raise SystemExit(f"the driver failed with exit code {driver.exitcode}")
    return Launch(begun, memory)


def _resident(pid: int | None) -> float:
    """Resident MiB of a process; 0 once it has gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


def ends_of(home: Path) -> list[Entry]:
    """The ends of a study's trials."""
    return [entry for entry in read_entries(home) if isinstance(entry.event, TrialEnded)]


def trials_in_mlflow(database: Path) -> int:
    """Runs of trials whose end MLflow holds."""
    query = (
        "select count(*) from runs join tags on runs.run_uuid = tags.run_uuid "
        "where key = 'study.kind' and value = 'trial' and end_time is not null"
    )
    with closing(sqlite3.connect(database)) as connection:
        return int(connection.execute(query).fetchone()[0])


def at_least(value: float, limit: float) -> str:
    """A limit, and whether it is kept."""
    return f">= {limit:g} {'met' if value >= limit else 'MISSED'}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trials", type=int, default=10_000, help="trials in all (10000)")
    parser.add_argument("--slots", type=int, default=64, help="trials at once (default 64)")
    parser.add_argument("--nodes", type=int, default=4, help="Ray nodes, an engine each (4)")
    parser.add_argument("--toy", action="store_true", help="a few trials: whether it runs at all")
    options = parser.parse_args()
    trials, slots, nodes = options.trials, options.slots, options.nodes
    if options.toy:
        trials, slots, nodes = 16, 4, 2
    engines = {"device": "cpu", "count": nodes, "slots": slots // nodes}
    with tempfile.TemporaryDirectory(prefix="scale-") as folder, cluster_of(nodes) as address:
        studies = Path(folder)
        home = StudyHome(studies, NAME)
        first = launch(study_of(NAME, trials, REPORTS, engines), studies, address)
        ends = ends_of(home.path)
        print(
            table_head([f"{trials:,} trials, {slots} slots, {nodes} nodes", "measured", "target"])
        )
        quarter = max(2, len(ends) // 4)
        rate = trials_a_second(ends)
        print(table_line("trials/s, first quarter", f"{trials_a_second(ends[:quarter]):.1f}", ""))
        print(table_line("trials/s, last quarter", f"{trials_a_second(ends[-quarter:]):.1f}", ""))
        print(table_line("trials/s", f"{rate:.1f}", at_least(rate, RATE)))
        for percent in (25, 50, 75, 100):
            resident = first.at(ends[len(ends) * percent // 100 - 1].time)
            print(table_line(f"driver's MiB after {percent} % of trials", f"{resident:.0f}", ""))
        peak = f"{first.peak:.0f}"
        print(table_line("driver's MiB at the peak", peak, judged(first.peak, MEMORY)))
        print(table_line("MiB of journal", f"{mebibytes(*home.journal.glob('*.log')):.1f}", ""))
        database = studies / DATABASE
        print(table_line(f"MiB of {DATABASE}", f"{mebibytes(database):.1f}", ""))
        held = f"{trials_in_mlflow(database):,} of {len(ends):,}"
        print(table_line("trials that MLflow holds at the end", held, ""))
        after = f"{first.ended - ends[-1].time:.0f}"
        print(table_line("seconds from the last trial to the driver's end", after, ""))
        seconds = run_report(studies, NAME).seconds
        print(table_line("seconds of a report", f"{seconds:.1f}", judged(seconds, REPORT)))
        again = launch(study_of(NAME, trials + slots, REPORTS, engines), studies, address)
        entries = read_entries(home.path)
        starts = [entry.time for entry in entries if isinstance(entry.event, TrialPlaced)]
        seconds = min(time for time in starts if time > again.begun) - again.begun
        print(table_line("seconds to resume", f"{seconds:.1f}", judged(seconds, RESUME)))


if __name__ == "__main__":
    main()
