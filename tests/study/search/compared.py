"""Made-up studies whose pair is compared: their arms and results, and what a conductor asked."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
from entries import of_kind
from simulation import REPORTS, Simulation, outcome, spec

from study.journal.events import Looked, PairChosen, TrialAsked
from study.search import Request
from study.spec import StudySpec, arm_roles
from study.spec.design import as_begun, settled

AUTO = {"balancer": "learned_sigma"}
PAIR = {
    "hand_tuned": "hand",
    "automatic": "auto",
}


def fixed(beta: float = 1.0) -> dict[str, Any]:
    return {"balancer": {"name": "fixed_beta", "beta": beta}}


def study(arms: Mapping[str, Any], **changes: Any) -> StudySpec:
    """As a first launch settles it, on 8 seeds."""
    found = spec(dict(arms), **{"seeds": {"from": 50, "count": 8}, **changes})
    return settled(found, arm_roles(found))


def extended(simulation: Simulation, arms: Mapping[str, Any], **changes: Any) -> Simulation:
    """The study that ``simulation`` began, launched again with another spec."""
    simulation.journal.close()
    now = spec(dict(arms), **{"seeds": {"from": 50, "count": 8}, **changes})
    now = as_begun(now, simulation.spec, {})
    return Simulation(simulation.home, now, simulation.slots, simulation.make)


class Results:
    """Reports whose objective is an arm's level plus noise of the arm and the seed.

    Levels are on validation; ``test`` has those on test. Trials named in ``failing`` fail.
    """

    def __init__(self, levels: Mapping[str, float], **test: float) -> None:
        self.levels, self.test = levels, {**levels, **test}
        self.failing: set[str] = set()
        self.noise = 0.3

    def __call__(self, request: Request, step: int) -> dict[str, Any]:
        arm = request.trial.partition(".")[0]
        noise = random.Random(f"{arm} {request.seed}").gauss(0, self.noise)
        beta = request.settings["balancer"].get("beta", 1.0)
        found = outcome(request, step)
        level = self.levels[arm] + (np.log10(beta) ** 2 if request.phase == "search" else 0.0)
        found["metrics"] = {"validation/calibrated_negative_elbo": float(level) + noise + 1 / step}
        if step == REPORTS:
            tested = {"test/calibrated_negative_elbo": self.test[arm] + noise}
            found["end"] = {"state": "complete", "metrics": tested}
            if request.trial in self.failing:
                found["end"] = {"state": "failed", "reason": "made to fail"}
        return found


def asked(simulation: Simulation, arm: str, stage: str | None = None) -> list[TrialAsked]:
    """Confirm runs of an arm, in the order of their numbers."""
    found = (q.trial.asked for q in simulation.conductor.trials.values())
    return [
        ask
        for ask in found
        if ask.arm == arm and ask.phase == "confirm" and stage in (None, ask.stage)
    ]


def pairs(simulation: Simulation) -> list[PairChosen]:
    return of_kind(simulation.journal.entries, PairChosen)


def looks(simulation: Simulation) -> list[Looked]:
    return of_kind(simulation.journal.entries, Looked)


def chosen(simulation: Simulation) -> tuple[str, str]:
    last = pairs(simulation)[-1]
    return last.hand, last.automatic


FOUR = {"h1": fixed(0.5), "h2": fixed(2.0), "a1": AUTO, "a2": {"balancer": "optimal_sigma"}}
LEVELS = {"h1": 5.0, "h2": 3.0, "a1": 4.0, "a2": 9.0}
