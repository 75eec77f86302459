"""The rate-distortion plane: the arms against the sweep of fixed betas.

Training minimises S/2 + beta R, so that the models of all betas trace the lower convex hull of
(R, S), with slope dS/dR = -2 beta (Alemi et al. 2018). How far above the hull an arm lands says
whether it is worse than some fixed beta at its own rate; where along the hull, what it chose.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, log, log1p
from typing import Any

import numpy as np
import pyarrow as pa

from study.analysis.answers.arms import ArmResult
from study.analysis.records.tables import dims
from study.spec.distributions import CHANGEABLE

CONSTANT = "fixed_beta"
"""The balancer whose beta is a constant."""
Point = tuple[float, float, float]


@dataclass(frozen=True)
class Landing:
    """Where an arm lands on the rate-distortion plane (test, mean over its confirm runs).

    Attributes:
        arm: The arm.
        automatic: Whether it is an automatic one.
        rate: R in nats per image.
        distortion: S, the squared error summed over an image.
        beta: k sigma^2 at the end of training.
        excess: Distortion above the frontier of the beta sweep at this rate, as a share of it.
        nats: The same in nats per image, D/2 ln(1 + excess).
        frontier_beta: The beta of the sweep's frontier at this rate.
        why: Why the last three are None, or "".
    """

    arm: str
    automatic: bool
    rate: float
    distortion: float
    beta: float | None
    excess: float | None
    nats: float | None
    frontier_beta: float | None
    why: str = ""


@dataclass(frozen=True)
class Plane:
    """The rate-distortion plane: the sweep's trials, their frontier, and where the arms land.

    ``sweep`` and ``frontier`` hold (rate, distortion, beta) in ascending order of rate.
    """

    sweep: Sequence[tuple[float, float, float]]
    frontier: Sequence[tuple[float, float, float]]
    landings: Sequence[Landing]
    why: str = ""


def plane(trials: pa.Table, spec: Mapping[str, Any], arms: Sequence[ArmResult]) -> Plane:
    """Where ``arms`` land, by means over their confirm runs on test.

    The sweep are the complete trials of the arms that search or fix a constant beta, and at most a
    learning rate beside it: what a schedule ends at is no point of it. Its frontier is the best of
    them by chance as well: with many trials an arm lands above it by the variance of seeds alone.
    """
    sweep = _sweep(trials, spec)
    frontier = lower_hull(sweep)
    size = dims(trials)
    landings = [
        _land(arm, frontier, size) for arm in arms if arm.rate is not None and arm.mse is not None
    ]
    why = "" if len(frontier) > 1 else "no two fixed betas have complete trials"
    return Plane(sweep, frontier, landings, why)


def lower_hull(points: Sequence[Point]) -> list[Point]:
    """The points on the lower left convex hull, in ascending order of rate (Andrew's chain).

    It ends at the lowest distortion: beyond it more rate buys nothing.
    """
    hull: list[Point] = []
    for point in sorted(points):
        if hull and point[1] >= hull[-1][1]:
            continue
        while len(hull) > 1 and _turns_up(hull[-2], hull[-1], point):
            hull.pop()
        hull.append(point)
    return hull


def _turns_up(a: Point, b: Point, c: Point) -> bool:
    return (b[0] - a[0]) * (c[1] - a[1]) <= (b[1] - a[1]) * (c[0] - a[0])


def _sweep(trials: pa.Table, spec: Mapping[str, Any]) -> list[Point]:
    arms = [
        name
        for name, arm in spec["arms"].items()
        if arm["balancer"]["name"] == CONSTANT
        and set((arm.get("search") or {}).get("space", {})) <= {"beta", CHANGEABLE}
    ]
    columns = ["arm", "state", "course", "settings", "test_R", "test_S"]
    found = []
    for row in trials.select(columns).to_pylist():
        if row["arm"] in arms and row["state"] == "complete" and row["course"] is None:
            beta = json.loads(row["settings"]).get("balancer", {}).get("beta")
            point = (row["test_R"], row["test_S"], beta)
            if all(value is not None and isfinite(value) for value in point):
                found.append(point)
    return sorted(found)


def _land(arm: ArmResult, frontier: Sequence[Point], dims: float | None) -> Landing:
    assert arm.rate is not None
    assert arm.mse is not None
    rate, distortion = arm.rate, arm.mse * (dims or 1.0)

    def landed(excess: float | None, beta: float | None, why: str = "") -> Landing:
        nats = None if excess is None or dims is None else dims / 2 * log1p(excess)
        return Landing(
            arm.arm, arm.automatic, rate, distortion, arm.effective_beta, excess, nats, beta, why
        )

    if len(frontier) < 2:
        return landed(None, None, "there is no frontier")
    rates, distortions, betas = (np.array(column) for column in zip(*frontier, strict=True))
    if not rates[0] <= rate <= rates[-1]:
        return landed(None, None, "its rate is outside of the sweep's")
    best = float(np.interp(rate, rates, distortions))
    beta = float(np.exp(np.interp(rate, rates, [log(b) for b in betas])))
    return landed(distortion / best - 1, beta)
