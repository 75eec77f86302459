"""A study without processes: a real conductor and journal, and made-up training curves."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import optuna

from study.journal import Journal, journal_file
from study.journal.events import StudyDescribed
from study.search import Conductor, Request
from study.spec import StudySpec, arm_roles, last_description

optuna.logging.set_verbosity(optuna.logging.WARNING)

REPORTS = 4
BETA = {"beta": {"low": 1e-3, "high": 10, "log": True}}
TWO = {**BETA, "training.lr": {"low": 1e-4, "high": 1e-2, "log": True}}


def hand(sampler: Any, trials: int = 9, space: Any = BETA, **search: Any) -> dict[str, Any]:
    settings = {"space": space, "sampler": sampler, "trials": trials, **search}
    return {"balancer": "fixed_beta", "search": settings}


ARMS = {
    "random": hand("random"),
    "qmc": hand("qmc"),
    "tpe": hand("tpe", pruner={"name": "median", "n_startup_trials": 2, "synchronous": True}),
    "gp": hand("gp", trials=6),
    "cmaes": hand("cmaes", trials=8, space=TWO),
    "cmaes-beta": hand("cmaes", trials=8),
    "pbt": hand({"name": "pbt", "population": 4}, trials=16, space=TWO),
    "grid": hand("grid", trials=3, space={"beta": [0.1, 1.0, 5.0]}, replicates=2),
    "auto": {"balancer": "learned_sigma"},
    "auto-lr": {
        "balancer": "optimal_sigma",
        "search": {"space": {"training.lr": [1e-3, 1e-2]}, "sampler": "random", "trials": 3},
    },
}


def spec(arms: dict[str, Any], **changes: Any) -> StudySpec:
    return StudySpec.from_dict(
        {
            "name": "s",
            "data": "digits",
            "model": {"name": "mlp", "latent": 4},
            "training": {"epochs": 1, "reports": REPORTS},
            "seeds": [0, 1],
            "arms": arms,
            **changes,
        }
    )


def outcome(request: Request, step: int, engine: str = "e") -> dict[str, Any]:
    """A made-up training curve: a function of settings, seed and step alone."""
    beta = request.settings["balancer"].get("beta", 0.3)
    lr = request.settings["training"]["lr"]
    value = math.log(beta) ** 2 + math.log10(lr / 1e-3) ** 2 + 1 / step + request.seed % 97 / 1e5
    report: dict[str, Any] = {
        "step": step,
        "images": 100 * step,
        "metrics": {"validation/calibrated_negative_elbo": value},
        "seconds": {"training": 1.0, "evaluation": 0.1},
        "engine": engine,
        "start": {
            "engine": engine,
            "shape": "x",
            "key": {"width": 1},
            "seconds_per_image": 1e-4,
        },
    }
    if step == request.settings["training"]["reports"]:
        report["end"] = {"state": "complete", "metrics": {"test/calibrated_negative_elbo": value}}
    return report


class Simulation:
    """Runs a conductor's trials in random order, crashing every so often."""

    def __init__(
        self,
        home: Path,
        study: StudySpec,
        slots: int,
        make: Any = outcome,
    ) -> None:
        self.home, self.spec, self.slots, self.make = home, study, slots, make
        self.open()

    def open(self) -> None:
        self.journal = Journal(self.home, take_over=True)
        begun = last_description(self.journal.entries)
        if begun is None or begun.spec_hash != self.spec.hash:
            whole = self.spec.name, self.spec.to_dict(), self.spec.hash, "1"
            roles = arm_roles(self.spec)
            self.journal.append(StudyDescribed(*whole, roles=roles, design=self.spec.design))
            self.journal.commit()
        self.conductor = Conductor(self.spec, self.journal, 64, self.slots)
        self.running: list[tuple[Request, int]] = []

    def crash(self) -> None:
        with journal_file(self.home, self.journal.epoch).open("ab") as file:
            file.write(b"12345678 [torn")
        self.open()

    def run(self, order: int, crash_every: int = 0) -> Simulation:
        rng, count = random.Random(order), 0
        while not self.conductor.drained:
            while request := self.conductor.next():
                self.running.append((request, request.after))
            index = rng.randrange(len(self.running))
            request, seen = self.running.pop(index)
            if self.conductor.report(request.trial, self.make(request, seen + 1)):
                self.conductor.returned(request.trial)
            else:
                self.running.append((request, seen + 1))
            count += 1
            if crash_every and count % crash_every == 0:
                self.crash()
        return self

    def table(self) -> list[tuple[Any, ...]]:
        return sorted(
            (
                t.name,
                t.trial.asked.seed,
                repr(t.trial.asked.params),
                t.trial.state,
                t.objective,
                t.trial.step,
            )
            for t in self.conductor.trials.values()
        )
