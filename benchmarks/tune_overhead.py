"""What a trial costs beside its training: searcher, scheduler, relay and journal.

    python -m benchmarks.tune_overhead --trials 100

A whole study on two slots, all of it real except the engines, which make every report at once
instead of training. A trial makes ten reports and each is relayed on its own, as in a study whose
reports are seconds apart. The time measured is between the first and the last trial's end in the
journal, without the start of Ray and Tune.
"""

from __future__ import annotations

import argparse
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, cast

import optuna
import ray

from benchmarks.paired import table_head, table_line
from benchmarks.stand_in import StandIn, study_of, trials_a_second
from study.journal import Journal
from study.journal.events import TrialEnded
from study.launching.ray_cluster import ray_up
from study.scheduling.pool import Occupancy
from study.scheduling.relay import Relay
from study.scheduling.tune.run import tune_trials
from study.search import Conductor

if TYPE_CHECKING:
    from study.scheduling.fleet import Fleet

SLOTS, REPORTS, DIMS = 2, 10, 64
TARGET = 0.1
"""Seconds a trial."""


class InstantFleet:
    """The part of a fleet that :func:`tune_trials` uses: the relay, and freeing slots."""

    def __init__(self) -> None:
        self.relay = ray.remote(Relay).options(num_cpus=0).remote()
        engine = ray.remote(StandIn).options(max_concurrency=8).remote("instant", SLOTS)
        ray.get(self.relay.add.remote(Occupancy("instant", engine, SLOTS)))

    def release(self, trial: str) -> None:
        """Free a trial's slot, without waiting."""
        self.relay.release.remote(trial)

    def isolate(self, trial: str, alone: bool) -> None:
        """No-op: no engine dies here, so no trial is a suspect."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trials", type=int, default=100, help="trials in all (default 100)")
    parser.add_argument("--toy", action="store_true", help="a few trials: whether it runs at all")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    trials = 8 if options.toy else options.trials
    spec = study_of("tune-overhead", trials, REPORTS, {"count": SLOTS})
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="tune-overhead-"))
        ray_up(None, spec, stack)
        journal = Journal(Path(folder))
        stack.callback(journal.close)
        conductor = Conductor(spec, journal, DIMS, slots=SLOTS)
        tune_trials(conductor, cast("Fleet", InstantFleet()))
        ends = [entry for entry in journal.entries if isinstance(entry.event, TrialEnded)]
        found = 1 / trials_a_second(ends)
    print(table_head(["trials", "reports each", "slots", "seconds a trial", "target"]))
    verdict = f"<= {TARGET} {'met' if found <= TARGET else 'MISSED'}"
    print(table_line(str(len(ends)), str(REPORTS), str(SLOTS), f"{found:.3f}", verdict))


if __name__ == "__main__":
    main()
