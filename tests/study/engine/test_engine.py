"""An engine without Ray: admitting, reporting, releasing, resuming."""

from __future__ import annotations

import math
import time
from typing import Any

import pytest
import torch
from engine_bench import Bench, follow, numbers, request
from sklearn.datasets import load_digits
from torch import Tensor

from study.engine import checkpoints
from vae_core import bank
from vae_core.cuda_graphs import Recorder
from vae_core.geometry import ImageShape
from vae_core.models import VAE
from vae_core.models.mlp import MLP


class Explodes(MLP):
    """A user's model with a fault that shows in training."""

    def decode(self, z: Tensor) -> Tensor:
        if self.training:
            raise ValueError("no decoding today")
        return super().decode(z)


class Unusual(MLP):
    """A user's model: a module under two names, and state beside its state dict."""

    def __init__(self, shape: ImageShape, latent: int, width: int) -> None:
        super().__init__(shape, latent, width)
        self.twin = self.encoder
        self.register_buffer("mean", torch.zeros(shape.chw), persistent=False)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if self.training:
            self.mean.mul_(0.9).add_(0.1 * x.detach().mean(0))
        mu, logvar = self.twin(x if self.training else x - self.mean).chunk(2, dim=1)
        return mu, logvar


def test_reports_divide_a_trial_evenly_and_the_last_one_ends_it(bench: Bench) -> None:
    reports = follow(bench.engine(), request())
    assert [r["step"] for r in reports] == [1, 2, 3, 4]
    assert [r["images"] for r in reports] == [640, 1280, 1920, 2560]
    end = reports[-1]["end"]
    assert end["state"] == "complete"
    assert set(end["metrics"]) == {
        "test/S", "test/MSE", "test/R", "test/calibrated_negative_elbo", "test/bits_per_dim",
        "test/active_units", "test/variance_law",
    }  # fmt: skip
    assert end["artifacts"] == {}
    metrics = reports[-1]["metrics"]
    assert metrics["beta"] == pytest.approx(metrics["k"] * metrics["sigma"] ** 2)
    assert metrics["train/MSE"] == pytest.approx(metrics["train/S"] / 64)
    dims = 64 * math.log(2)
    bits = metrics["validation/calibrated_negative_elbo"] / dims + 8
    assert metrics["validation/bits_per_dim"] == pytest.approx(bits)


def test_slots_and_neighbours_change_no_number(bench: Bench) -> None:
    alone = follow(bench.engine(width=3), request())
    shared = bench.engine(width=3)
    shared.admit(request("b", seed=2, balancer={"name": "fixed_beta", "beta": 0.05}))
    shared.admit(request("c", seed=3, balancer={"name": "learned_sigma"}, training={"lr": 1e30}))
    assert numbers(follow(shared, request())) == numbers(alone)
    assert follow(shared, request("c", seed=3))[-1]["end"]["state"] == "failed"


def test_a_divergent_trial_fails_with_the_step_and_its_neighbours_go_on(bench: Bench) -> None:
    engine = bench.engine()
    reports = follow(engine, request("wild", training={"lr": 1e30}))
    assert reports[-1]["end"] == {"state": "failed", "reason": "diverged at step 2"}
    assert follow(engine, request("calm"))[-1]["end"]["state"] == "complete"


def test_a_models_own_fault_fails_its_trial_with_the_traceback(bench: Bench) -> None:
    engine = bench.engine()
    reports = follow(engine, request("bad", model={"name": f"{__name__}:Explodes"}))
    end = reports[-1]["end"]
    assert (end["state"], end["reason"]) == ("failed", "crashed")
    assert "no decoding today" in end["traceback"]
    assert follow(engine, request("good"))[-1]["end"]["state"] == "complete"


def stopped_after(bench: Bench, step: int, asked: dict[str, Any]) -> None:
    """Let an engine train until a checkpoint is there, then vanish."""
    engine = bench.engine()
    engine.admit(asked | {"until": step})
    reports: list[dict[str, Any]] = []
    while len(reports) < step:
        reports += engine.reports(asked["trial"], len(reports))
    engine.stop()


@pytest.mark.parametrize("step", [1, 3])
def test_another_engine_resumes_from_the_checkpoint_to_the_same_end(
    bench: Bench, step: int
) -> None:
    whole = follow(bench.engine(), request("whole"))
    stopped_after(bench, step, request("cut"))
    rest = follow(bench.engine(), request("cut"))
    assert numbers(rest) == numbers(whole), "reports before the cut come from the checkpoint"


def test_a_trial_let_go_at_a_report_frees_its_row(bench: Bench) -> None:
    engine = bench.engine()
    engine.admit(request("held", until=1))
    assert len(engine.reports("held", 0)) == 1
    assert follow(engine, request("next"))[-1]["end"]["state"] == "complete"


def test_a_released_trial_leaves_at_once_and_releasing_again_is_harmless(bench: Bench) -> None:
    engine = bench.engine()
    endless = request("endless", training={"epochs": 10_000})
    engine.admit(endless)
    engine.admit(endless)
    engine.admit(request("waiting"))
    engine.release("endless")
    engine.release("endless")
    assert engine.reports("endless", 0) == []
    assert follow(engine, request("waiting"))[-1]["end"]["state"] == "complete"


def test_trials_of_another_shape_get_a_bank_of_their_own(bench: Bench) -> None:
    engine = bench.engine(width=2)
    engine.admit(request("wide", model={"latent": 9}))
    reports = follow(engine, request("narrow"))
    wide = follow(engine, request("wide", model={"latent": 9}))
    assert reports[-1]["end"]["state"] == wide[-1]["end"]["state"] == "complete"
    assert reports[0]["start"]["shape"] != wide[0]["start"]["shape"]
    assert reports[0]["start"]["key"]["width"] == 2


@pytest.mark.parametrize("width", [1, 2])
def test_all_that_a_users_model_holds_is_evaluated_and_kept(bench: Bench, width: int) -> None:
    own = request("own", phase="confirm", model={"name": f"{__name__}:Unusual"})
    end = follow(bench.engine(width), own)[-1]["end"]
    assert end["state"] == "complete"
    weights = torch.load(bench.home / end["artifacts"]["checkpoint"], weights_only=True)
    assert torch.equal(weights["twin.1.weight"], weights["encoder.1.weight"])
    pixels = load_digits().data.mean() / 16
    assert weights["mean"].mean().item() == pytest.approx(pixels, rel=0.1)


def test_a_confirm_run_leaves_its_weights_and_pictures(bench: Bench) -> None:
    end = follow(bench.engine(), request("kept", phase="confirm"))[-1]["end"]
    pictures = {"reconstructions", "samples", "interpolations", "uncertainty"}
    pictures |= {"samples_uncertainty"}
    tables = {"calibration_quantiles", "calibration_variances", "latents"}
    assert set(end["artifacts"]) == {"checkpoint", "image_scores", *pictures, *tables}
    for path in end["artifacts"].values():
        assert (bench.home / path).stat().st_size > 0
    weights = torch.load(bench.home / end["artifacts"]["checkpoint"], weights_only=True)
    model: VAE = MLP(ImageShape(1, 8, 8), 4, 16)
    model.load_state_dict(weights)
    checkpoints.retire(bench.home / "trials" / "kept", "none")
    names = {path.name for path in (bench.home / "trials" / "kept").iterdir()}
    assert names == {
        "model.pt",
        "image_scores.parquet",
        *(f"{name}.png" for name in pictures),
        *(f"{name}.csv" for name in tables),
    }


def test_an_engines_seconds_are_accounted_for(bench: Bench) -> None:
    engine, start = bench.engine(width=2), time.perf_counter()
    reports = follow(engine, request())
    time.sleep(0.2)
    seconds, elapsed = engine.stop()["seconds"], time.perf_counter() - start
    billed = sum(r["seconds"]["training"] for r in reports)
    assert seconds["training"] == pytest.approx(billed)
    assert seconds["idle_slots"] == pytest.approx(seconds["training"], rel=1e-6)
    assert seconds["evaluation"] == pytest.approx(sum(r["seconds"]["evaluation"] for r in reports))
    assert sum(seconds.values()) - seconds["start_up"] <= elapsed


def test_recording_steps_is_no_trials_training(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def record(self: Recorder, step: Any, changes: Any) -> Any:
        time.sleep(0.3)
        self.problem = "no graph here"
        return step

    monkeypatch.setattr(bank, "replayed_on", lambda device: True)
    monkeypatch.setattr(Recorder, "__call__", record)
    engine = bench.engine()
    first = follow(engine, request("a"))
    reports = [*first, *follow(engine, request("b", balancer={"name": "learned_sigma"}))]
    seconds = engine.stop()["seconds"]
    billed = sum(report["seconds"]["training"] for report in reports)
    assert seconds["training"] == pytest.approx(billed)
    (shared,) = engine._banks.all
    assert shared.recording_seconds > 2 * 0.3, "once in the bank's pilot, once in training"
    assert seconds["pilot"] > shared.recording_seconds
    assert {report["start"]["unrecorded"] for report in reports} == {"no graph here"}
