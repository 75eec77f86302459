"""Gated trials: one beta of many is chosen at each report, without training, and all are kept."""

from __future__ import annotations

import csv
from typing import Any

import pytest
import torch
from engine_bench import Bench, fetch, follow, numbers, request, slow_down

from vae_core.data import Dataset
from vae_core.evaluation import EvaluationSet, calibrated, measure
from vae_core.geometry import ImageShape
from vae_core.models.mlp import MLP

MULTI_RATE, LONGER = {"name": "multi_rate"}, {"epochs": 12, "lr": 1e-2}
TESTED = "test/calibrated_negative_elbo"
ELBO = "validation/calibrated_negative_elbo"


def curve(bench: Bench, end: dict[str, Any]) -> list[dict[str, float]]:
    with (bench.home / end["artifacts"]["beta_curve"]).open() as file:
        return [{name: float(cell) for name, cell in row.items()} for row in csv.DictReader(file)]


def kept(bench: Bench, end: dict[str, Any]) -> MLP:
    """The weights of the trial, in a model without gates."""
    model = MLP(ImageShape(1, 8, 8), 4, 16)
    file = bench.home / end["artifacts"]["checkpoint"]
    model.load_state_dict(torch.load(file, weights_only=True))
    return model.eval()


@pytest.mark.parametrize("width", [1, 2])
def test_the_best_beta_on_validation_is_the_trials_and_its_model_is_kept(
    bench: Bench, width: int
) -> None:
    asked = request("m", phase="confirm", balancer=MULTI_RATE, training=LONGER)
    last = follow(bench.engine(width), asked)[-1]
    rows = curve(bench, last["end"])
    metrics, tested = last["metrics"], last["end"]["metrics"]
    assert len(rows) == 9
    rates = [row["validation_R"] for row in rows]
    assert rates == sorted(rates, reverse=True)
    best = min(rows, key=lambda row: row["validation_calibrated_negative_elbo"])
    assert (
        best["validation_calibrated_negative_elbo"]
        < rows[-1]["validation_calibrated_negative_elbo"]
    )
    assert (metrics["beta"], metrics["k"], metrics["sigma"]) == (best["beta"], best["beta"], 1.0)
    for name in ("S", "R", "calibrated_negative_elbo"):
        assert metrics[f"validation/{name}"] == best[f"validation_{name}"]
    # The kept weights are that model's: an ordinary one gives the same numbers.
    model, data = kept(bench, last["end"]), Dataset.open(bench.data, 220)
    fitted, held_out = (
        measure(model, EvaluationSet(rows, split, count=300, shape=data.shape).batches(4))
        for split, rows in (("train", data.train), ("validation", data.validation))
    )
    assert calibrated(fitted, held_out, 64) == {
        name.removeprefix("validation/"): value
        for name, value in metrics.items()
        if name.startswith("validation/")
    }
    assert tested[TESTED] == pytest.approx(best["test_calibrated_negative_elbo"], abs=3.0)


def test_each_report_has_the_beta_that_is_best_by_then(bench: Bench) -> None:
    """Untrained, all betas are alike; those that reports name are of the range."""
    reports = follow(bench.engine(), request("m", balancer=MULTI_RATE, training=LONGER))
    betas = [report["metrics"]["beta"] for report in reports]
    assert all(0.005 <= beta <= 5.0 for beta in betas)
    assert reports[-1]["metrics"][ELBO] < reports[0]["metrics"][ELBO]
    assert reports[-1]["end"]["artifacts"] == {}, "files are for confirm runs"


def test_the_control_is_at_its_beta_and_has_no_curve(bench: Bench) -> None:
    frozen = {"name": "gates_frozen", "beta": 0.02}
    engine = bench.engine(2)
    engine.admit(request("m", balancer=MULTI_RATE))
    reports = follow(engine, request("f", phase="confirm", balancer=frozen))
    assert {report["metrics"]["beta"] for report in reports} == {0.02}
    assert "beta_curve" not in reports[-1]["end"]["artifacts"]
    shapes = {r["start"]["shape"] for r in (*reports, *fetch(engine, "m", 1))}
    assert len(shapes) == 1, "they share a bank"
    assert '"gated": true' in shapes.pop()
    plain = follow(engine, request("p", balancer={"name": "fixed_beta", "beta": 0.02}))
    assert "gated" not in plain[0]["start"]["shape"]


def test_a_gated_trial_resumes_to_the_same_numbers_beside_others(bench: Bench) -> None:
    asked = {"phase": "confirm", "balancer": MULTI_RATE}
    engine = bench.engine(2)
    whole = follow(engine, request("whole", **asked))
    slow_down(engine).admit(request("cut", **asked))
    first = fetch(engine, "cut", 2)
    engine.suspend()
    engine.stop()
    again = bench.engine(2, epoch=2)
    again.admit(request("f", seed=5, balancer={"name": "gates_frozen", "beta": 1.0}))
    rest = follow(again, request("cut", after=len(first), **asked))
    together = [*first, *rest]
    assert [n.replace("trials/cut/", "trials/whole/") for n in numbers(together)] == numbers(whole)
    files = [bench.folder(trial) / "beta_curve.csv" for trial in ("cut", "whole")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_where_a_distance_is_the_objective_the_beta_is_chosen_by_likelihood(bench: Bench) -> None:
    asked = {"features": ["classifier"], "samples": 100, "objective": "frechet_classifier_gen1"}
    found = request("d", phase="confirm", balancer=MULTI_RATE, training=LONGER)
    last = follow(bench.engine(**asked), found)[-1]
    rows = curve(bench, last["end"])
    best = min(rows, key=lambda row: row["validation_calibrated_negative_elbo"])
    assert last["metrics"]["beta"] == best["beta"]
    assert last["metrics"]["validation/frechet_classifier_gen1"] > 0
