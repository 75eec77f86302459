from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from math import log
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import ConvexHull

from study.analysis.answers.rate_distortion import lower_hull
from study.analysis.answers.report import build_report
from study.analysis.records.tables import build_tables
from study.journal.course import Course

Make = Callable[..., Any]
D = 64


def gaussian(tau: float) -> tuple[float, float]:
    """Rate and distortion of a linear VAE at tau = beta: reverse water-filling."""
    eigenvalues = np.array([8.0, 4.0, 2.0, 1.0, 0.5])
    active = eigenvalues > tau
    return float(np.log(eigenvalues[active] / tau).sum() / 2), float(
        np.minimum(eigenvalues, tau).sum()
    )


def test_the_hull_of_a_rate_distortion_curve_is_all_of_it_and_its_slope_beta() -> None:
    betas = np.logspace(-1, 0.8, 30)
    points = [(*gaussian(b), b) for b in betas]
    hull = lower_hull(points)
    assert len(hull) == len(points)
    (r0, s0, b0), (r1, s1, b1) = hull[10], hull[11]
    assert b1 < -(s1 - s0) / (r1 - r0) / 2 < b0, "min S/2 + beta R has slope -2 beta"


@given(st.lists(st.tuples(*[st.floats(0, 10, allow_subnormal=False)] * 2), min_size=4, max_size=30))
def test_the_hull_is_the_lower_left_part_of_the_convex_hull(
    points: list[tuple[float, float]],
) -> None:
    hull = lower_hull([(*p, 1.0) for p in points])
    assert hull[0][0] == min(p[0] for p in points)
    assert hull[-1][1] == min(p[1] for p in points)
    for (r0, s0, _), (r1, s1, _) in pairwise(hull):
        assert r0 < r1
        assert s0 > s1
        for rate, distortion in points:
            if r0 <= rate <= r1:
                assert distortion >= s0 + (s1 - s0) * (rate - r0) / (r1 - r0) - 1e-9


def test_scipy_agrees_on_many_points() -> None:
    points = np.random.default_rng(0).normal(size=(500, 2))
    corners = {tuple(points[i]) for i in ConvexHull(points).vertices}
    assert {p[:2] for p in lower_hull([(*p, 1.0) for p in map(tuple, points)])} <= corners


def land(
    stream: Any, arm: str, phase: str, number: int, beta: float | None, point: Any, **asked: Any
) -> None:
    """A complete trial at (R, S) = ``point``."""
    rate, squared = point
    chosen = 0 if phase == "confirm" and arm == "tpe" else None
    params = {} if beta is None else {"beta": beta}
    trial = stream.ask(arm, phase, number, 101 + number, params, 0, chosen, **asked)
    stream.begin(trial)
    stream.report(trial, 1, 5.0)
    stream.end(trial, "complete", 5.0, 5.0)
    stream.measure({"test/R": rate, "test/S": squared, "test/MSE": squared / D})


def test_arms_land_above_below_and_outside_of_the_frontier(make_stream: Make, arms: Any) -> None:
    automatic = arms["automatic"]
    stream = make_stream({"tpe": arms["hand"], "on": automatic, "off": automatic, "out": automatic})
    betas = np.logspace(-1, 0.8, 30)
    for number, beta in enumerate(betas):
        land(stream, "tpe", "search", number, beta, gaussian(beta))
    rate, squared = gaussian(0.7)
    land(stream, "on", "confirm", 0, None, (rate, squared))
    land(stream, "off", "confirm", 0, None, (rate, 1.1 * squared))
    land(stream, "out", "confirm", 0, None, (100.0, 0.1))
    report = build_report(build_tables(stream.entries))
    landed = {landing.arm: landing for landing in report.plane.landings}
    assert landed["on"].excess == pytest.approx(0.0, abs=0.01)
    assert landed["on"].frontier_beta == pytest.approx(0.7, rel=0.02)
    assert landed["off"].excess == pytest.approx(0.1, abs=0.011)
    assert landed["off"].nats == pytest.approx(D / 2 * log(1.1), abs=0.3)
    assert landed["out"].excess is None
    assert "outside" in landed["out"].why
    assert len(report.plane.frontier) >= 29


def test_a_sweep_of_other_things_than_beta_is_no_frontier(make_stream: Make, arms: Any) -> None:
    hand = arms["hand"]
    wide = {**hand, "search": {**hand["search"], "space": {"beta": {}, "model.latent": {}}}}
    stream = make_stream({"tpe": wide, "sigma": arms["automatic"]})
    land(stream, "tpe", "search", 0, 1.0, (2.0, 3.0))
    land(stream, "tpe", "search", 1, 2.0, (1.0, 4.0))
    land(stream, "sigma", "confirm", 0, None, (1.5, 3.5))
    report = build_report(build_tables(stream.entries))
    assert report.plane.frontier == []
    assert "no two fixed betas" in report.plane.why
    assert report.plane.landings[0].why == "there is no frontier"


def test_a_learning_rate_may_be_searched_beside_beta_but_whole_trainings_count(
    make_stream: Make, arms: Any
) -> None:
    hand = arms["hand"]
    both = {**hand, "search": {**hand["search"], "space": {"beta": {}, "training.lr": {}}}}
    stream = make_stream({"tpe": both, "sigma": arms["automatic"]})
    land(stream, "tpe", "search", 0, 1.0, (2.0, 3.0))
    land(stream, "tpe", "search", 1, 2.0, (1.0, 4.0))
    stage = Course(generations=2, epochs=0.5).to_data()
    land(stream, "tpe", "search", 2, 0.5, (1.0, 1.0), course=stage)
    land(stream, "sigma", "confirm", 0, None, (1.5, 3.5))
    report = build_report(build_tables(stream.entries))
    assert [point[2] for point in report.plane.frontier] == [2.0, 1.0]


def test_the_sweep_is_of_arms_with_a_constant_beta(make_stream: Make, arms: Any) -> None:
    """Not of one whose beta is what a schedule ends at, nor of one that searches another weight."""
    fixed = {"balancer": {"name": "fixed_beta", "beta": 0.3}, "search": None}
    annealed = {"balancer": {"name": "mine:Annealed", "beta": 0.2}, "search": None}
    weighted = {
        "balancer": {"name": "optimal_sigma"},
        "search": {**arms["hand"]["search"], "space": {"k": [0.5, 2.0]}},
    }
    learned = {"balancer": {"name": "mine:Learned"}, "search": None}
    stream = make_stream(
        {
            "fixed": fixed,
            "weighted": weighted,
            "tpe": arms["hand"],
            "learned": learned,
            "annealed": annealed,
        },
        hand_tuned={"fixed": "sets beta", "weighted": "searches k", "annealed": "sets beta"},
    )
    land(stream, "fixed", "confirm", 0, 0.3, (3.0, 2.0))
    land(stream, "weighted", "search", 0, None, (1.0, 1.0))
    land(stream, "tpe", "search", 0, 2.0, (1.0, 4.0))
    land(stream, "learned", "confirm", 0, 0.9, (1.5, 0.5))
    land(stream, "annealed", "confirm", 0, 0.2, (2.5, 0.1))
    report = build_report(build_tables(stream.entries))
    assert report.plane.sweep == [(1.0, 4.0, 2.0), (3.0, 2.0, 0.3)]
    assert [(arm.automatic, arm.why) for arm in report.arms] == [
        (False, "sets beta"), (False, "searches k"), (False, "searches beta"), (True, ""),
        (False, "sets beta"),
    ]  # fmt: skip
    hand = "fixed (sets beta), weighted (searches k), tpe (searches beta), annealed (sets beta)"
    assert f"Hand-tuned: {hand}." in report.notes
    assert [(c.hand, c.automatic) for c in report.comparisons] == [
        ("fixed", "learned"), ("weighted", "learned"), ("tpe", "learned"), ("annealed", "learned"),
    ]  # fmt: skip


def test_a_beta_that_was_chosen_after_the_training_is_no_point_of_the_sweep(
    make_stream: Make, arms: Any
) -> None:
    """Nor is the control's, whose model has other layers: both land beside it."""
    multi = {"balancer": {"name": "multi_rate"}, "search": None}
    frozen = {**arms["hand"], "balancer": {"name": "gates_frozen"}}
    stream = make_stream({"tpe": arms["hand"], "multi": multi, "frozen": frozen})
    land(stream, "tpe", "search", 0, 1.0, (1.0, 4.0))
    land(stream, "tpe", "search", 1, 0.3, (3.0, 2.0))
    land(stream, "frozen", "search", 0, 0.3, (2.0, 1.0))
    land(stream, "multi", "confirm", 0, None, (2.0, 3.3))
    plane = build_report(build_tables(stream.entries)).plane
    assert plane.sweep == [(1.0, 4.0, 1.0), (3.0, 2.0, 0.3)]
    (landing,) = plane.landings
    assert (landing.arm, landing.excess) == ("multi", pytest.approx(0.1))
