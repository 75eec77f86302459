"""What a trial costs beside its training: searcher, scheduler, relay and journal.

    python -m benchmarks.tune_overhead --trials 100

A whole study on two slots, all of it real but the engines, which make every report at once
instead of training. A trial makes ten reports and each is relayed on its own, as in a study whose
reports are seconds apart. Counted is the time between the first and the last trial's end in the
journal: starting Ray and Tune is left out.
"""

from __future__ import annotations

import argparse
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import optuna
import ray

from benchmarks.paired import table_head, table_line
from study.cluster import ray_up
from study.journal import Event, Journal
from study.scheduling.relay import Relay
from study.scheduling.tuning import tune_trials
from study.search import Conductor
from study.spec import StudySpec

if TYPE_CHECKING:
    from study.scheduling.fleet import Fleet

SLOTS, REPORTS, SEEDS, DIMS = 2, 10, 5, 64
TARGET = 0.1
"""Seconds a trial."""


class InstantEngine:
    """The face of :class:`study.scheduling.engine_actor.EngineActor`, with nothing behind it."""

    def admit(self, request: dict[str, Any]) -> None:
        """Nothing is trained."""

    def reports(self, trial: str, after: int) -> list[dict[str, Any]]:
        """The next report of ``trial``, alone."""
        step = after + 1
        names = [f"{split}/{name}" for split in ("train", "validation") for name in "SRLMA"]
        report = {
            "step": step,
            "images": 64 * step,
            "metrics": {**dict.fromkeys(names, 1.0), "validation/calibrated_elbo": 1.0 / step},
            "seconds": {"training": 0.0, "evaluation": 0.0},
            "engine": "instant",
            "start": {
                "engine": "instant",
                "shape": "none",
                "key": {"width": SLOTS},
                "seconds_per_image": 0.0,
            },
        }
        if step == REPORTS:
            report["end"] = {"state": "complete", "metrics": dict.fromkeys(names, 1.0)}
        return [report]

    def release(self, trial: str) -> None:
        """Nothing is held."""


class InstantFleet:
    """What :func:`tune_trials` needs of a fleet: the relay, and a way to free slots."""

    def __init__(self) -> None:
        self.relay = ray.remote(Relay).options(num_cpus=0).remote()
        engine = ray.remote(InstantEngine).options(max_concurrency=8).remote()
        ray.get(self.relay.add.remote("instant", engine, SLOTS))

    def release(self, trial: str) -> None:
        """Free a trial's slot without waiting."""
        self.relay.release.remote(trial)

    def isolate(self, trial: str, alone: bool) -> None:
        """No engine dies here, and nothing is suspected of it."""


def study_of(trials: int) -> StudySpec:
    """A study of ``trials`` trials in all: a random search, then its confirm runs."""
    return StudySpec.from_dict(
        {
            "name": "tune-overhead",
            "question": "What does a trial cost that trains nothing?",
            "data": {"name": "digits", "validation": 220},
            "model": {"name": "mlp", "latent": 16, "width": 64},
            "training": {"epochs": 1, "batch_size": 64, "lr": 1e-3, "reports": REPORTS},
            "objective": "calibrated_elbo",
            "seeds": list(range(SEEDS)),
            "engines": {"count": SLOTS},
            "arms": {
                "random": {
                    "balancer": "fixed_beta",
                    "search": {
                        "space": {"beta": {"low": 1e-4, "high": 10, "log": True}},
                        "sampler": "random",
                        "trials": trials - SEEDS,
                    },
                }
            },
        }
    )


def seconds_per_trial(events: list[Event]) -> float:
    """Mean seconds from one trial's end to the next's."""
    ends = [event.time for event in events if event.kind == "end"]
    return (ends[-1] - ends[0]) / (len(ends) - 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trials", type=int, default=100, help="trials in all (default 100)")
    parser.add_argument("--toy", action="store_true", help="a few trials: whether it runs at all")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    spec = study_of(8 if options.toy else options.trials)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="tune-overhead-"))
        ray_up(None, spec, stack)
        journal = Journal(Path(folder))
        stack.callback(journal.close)
        conductor = Conductor(spec, journal, DIMS, slots=SLOTS)
        tune_trials(conductor, cast("Fleet", InstantFleet()))
        ended = sum(event.kind == "end" for event in journal.events)
        found = seconds_per_trial(journal.events)
    print(table_head(["trials", "reports each", "slots", "seconds a trial", "target"]))
    verdict = f"<= {TARGET} {'met' if found <= TARGET else 'MISSED'}"
    print(table_line(str(ended), str(REPORTS), str(SLOTS), f"{found:.3f}", verdict))


if __name__ == "__main__":
    main()
