"""The final evaluation: what it measures, what it costs, and that it does not depend on engines."""

from __future__ import annotations

import hashlib
import json
import math
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_bench import Bench, fetch, follow, numbers, request, spent
from PIL import Image
from waiting import until

from study.engine import checkpoints
from study.engine.engine import Engine
from study.image_scores import STEP, ImageScores
from study.metrics import METRICS
from vae_core.data import Dataset
from vae_core.evaluation import EvaluationSet, aggregate, calibrated, measure, measure_images
from vae_core.evaluation.distances import Statistics, distances, frechet
from vae_core.evaluation.features import classifier
from vae_core.evaluation.references import References
from vae_core.generation import SecondStage, SecondStageSettings, reconstruct, sample_prior
from vae_core.geometry import ImageShape
from vae_core.models import VAE
from vae_core.models.mlp import MLP

STAGE = {"width": 16, "epochs": 2, "batch_size": 50}
LONG = {"width": 16, "epochs": 1_000_000, "batch_size": 50}
EVERYTHING = {
    "features": ["classifier"],
    "generators": ["prior", "mixture", "second_stage"],
    "samples": 200,
    "mixture": 2,
    "iwae": 2,
    "second_stage": STAGE,
}
GENERATED = ("gen1", "gen2", "mixture", "rec", "interpolation")


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, digits: Any) -> tuple[Bench, Engine, Any]:
    """A confirm run that asked for everything, and the engine it ran on."""
    bench = Bench(tmp_path_factory.mktemp("home"), digits)
    engine = bench.engine(**EVERYTHING)
    reports = follow(engine, request("all", phase="confirm"))
    return bench, engine, reports


def trained(bench: Bench, end: dict[str, Any]) -> VAE:
    model = MLP(ImageShape(1, 8, 8), 4, 16)
    file = bench.home / end["artifacts"]["checkpoint"]
    model.load_state_dict(torch.load(file, weights_only=True))
    return model.eval()


def test_a_trial_gets_every_measure_it_asks_for(measured: Any) -> None:
    end = measured[2][-1]["end"]
    found = {name.removeprefix("test/") for name in end["metrics"]}
    assert {"discretised_bits_per_dim", "iwae", "smoothness", "variance_law"} <= found
    assert {"coverage_50", "coverage_90", "coverage_95", "calibration_error", "nll"} <= found
    assert {"mutual_information", "total_correlation", "mmd", "effective_latents"} <= found
    for what in GENERATED:
        for metric in ("frechet", "kid", "precision", "recall", "density", "coverage"):
            assert f"{metric}_classifier_{what}" in found
    assert not [name for name in found if name.startswith("fid")], "that is Inception's name"
    forgotten = sorted(name for name in found if name not in METRICS)
    assert not forgotten, f"add a row to study/metrics.py: {forgotten}"
    assert end["metrics"]["test/iwae"] < end["metrics"]["test/calibrated_negative_elbo"]


def test_the_distances_are_those_of_the_model_that_was_kept(measured: Any) -> None:
    bench, _, reports = measured
    end = reports[-1]["end"]
    model, data = trained(bench, end), Dataset.open(bench.data, 220)
    store = Path(bench.data.files["train"]).parent
    features = classifier(bench.data, store, "cpu")
    reference = References(bench.data, store).of(features, data.test, "test", 200)
    prior = distances(features, reference, sample_prior(model, 200, 0))
    images = EvaluationSet(data.test, "test", count=200, shape=data.shape)
    rec = distances(features, reference, reconstruct(model, images.batches(4)))
    for name, value in prior.items():
        assert end["metrics"][f"test/{name}_classifier_gen1"] == pytest.approx(value, rel=1e-6)
    for name, value in rec.items():
        assert end["metrics"][f"test/{name}_classifier_rec"] == pytest.approx(value, rel=1e-6)


def test_a_number_has_its_network_and_n_beside_it(measured: Any) -> None:
    bench, engine, reports = measured
    end = reports[-1]["end"]
    found = json.loads((bench.home / end["artifacts"]["distances"]).read_text())["classifier"]
    assert found["n"] == 200
    assert {"network", "sha256", "preprocessing", "dims", "test_error"} <= set(found)
    assert found["values"] == {k: v for k, v in end["metrics"].items() if k in found["values"]}
    assert len(found["values"]) == 6 * len(GENERATED)
    described = engine._evaluation.features()["classifier"]
    assert described == {k: v for k, v in found.items() if k != "values"}


def test_the_scores_of_single_images_are_kept_and_their_mean_is_the_metric(measured: Any) -> None:
    bench, engine, reports = measured
    end = reports[-1]["end"]
    scores = ImageScores.read(bench.home / end["artifacts"]["image_scores"])
    assert end["artifacts"]["image_scores"] == "trials/all/image_scores.parquet"
    draws = engine._evaluation.settings.draws_of(297)
    assert (len(scores.values), len(scores.draws), draws) == (297, draws, 41)
    elbo = end["metrics"]["test/calibrated_negative_elbo"]
    assert scores.draws.mean() == pytest.approx(elbo, rel=1e-12)
    assert scores.values.mean() == pytest.approx(elbo, abs=4 * STEP / math.sqrt(12 * 297))
    # Image by image, from the model that was kept.
    model, data = trained(bench, end), Dataset.open(bench.data, 220)
    test = EvaluationSet(data.test, "test", count=297, shape=data.shape)
    train = EvaluationSet(data.train, "train", count=300, shape=data.shape)
    sigma2 = measure(model, train.batches(4)).mse
    _, terms = measure_images(model, test.drawn(4, 1, draws))  # under the trial's seed
    normaliser = 32 * math.log(2 * math.pi * sigma2)
    nats = (terms.S.mean(dim=0) / (2 * sigma2) + normaliser + terms.R).numpy()
    assert abs(scores.values - nats).max() < STEP


def test_the_aggregate_posterior_is_that_of_the_model_that_was_kept(measured: Any) -> None:
    bench, _, reports = measured
    end = reports[-1]["end"]
    data = Dataset.open(bench.data, 220)
    test = EvaluationSet(data.test, "test", count=297, shape=data.shape)
    found = aggregate(trained(bench, end), test.batches(4))
    for name, value in found.scalars.items():
        assert end["metrics"][f"test/{name}"] == pytest.approx(value, rel=1e-6)
    parts = ("mutual_information", "total_correlation", "dimension_kl")
    total = sum(end["metrics"][f"test/{name}"] for name in parts)
    assert total == pytest.approx(end["metrics"]["test/R"]), "all test images, as they are few"
    table = (bench.home / end["artifacts"]["latents"]).read_text().splitlines()
    assert table[0] == "latent,kl,mutual_information,marginal_kl"
    rows = [[float(cell) for cell in line.split(",")] for line in table[1:]]
    assert sorted(row[0] for row in rows) == [0, 1, 2, 3]
    assert sum(row[1] for row in rows) == pytest.approx(total)
    assert rows == sorted(rows, key=lambda row: -row[1])


def test_a_pair_shares_its_draws_and_another_seed_has_its_own(bench: Bench) -> None:
    """Of one model: measured under one seed it scores the same, under another it does not."""
    engine = bench.engine(draws=3)
    follow(engine, request("t", phase="confirm"))
    model = MLP(ImageShape(1, 8, 8), 4, 16).eval()
    model.load_state_dict(torch.load(bench.folder("t") / "model.pt", weights_only=True))
    found = engine._evaluation
    fitted = measure(model, found.train.batches(4))
    first, again, other = (
        found.on_test(model, fitted, "gaussian", seed, lambda: None)[1] for seed in (1, 1, 2)
    )
    assert first.to_bytes() == again.to_bytes()
    assert not set(first.draws) & set(other.draws)
    recorded = ImageScores.read(bench.folder("t") / "image_scores.parquet")
    assert recorded.draws.tolist() == first.draws.tolist()


def test_one_draw_is_the_fixed_one_whatever_the_seed(bench: Bench) -> None:
    engine = bench.engine(draws=1)
    end = follow(engine, request("t", phase="confirm"))[-1]["end"]
    model, found = trained(bench, end), engine._evaluation
    fitted = measure(model, found.train.batches(4))
    fixed = calibrated(fitted, measure(model, found.test.batches(4)), 64)
    assert fixed == {name: end["metrics"][f"test/{name}"] for name in fixed}


def test_pictures_and_tables_can_be_opened(measured: Any) -> None:
    bench, _, reports = measured
    artifacts = reports[-1]["end"]["artifacts"]
    pictures = ["samples", "samples_mixture", "samples_second_stage", "samples_uncertainty"]
    for name in (*pictures, "reconstructions", "interpolations", "uncertainty"):
        with Image.open(bench.home / artifacts[name]) as picture:
            assert picture.size[0] > 32
    table = (bench.home / artifacts["calibration_quantiles"]).read_text().splitlines()
    assert table[0] == "expected,observed"
    assert len(table) == 40
    assert len((bench.home / artifacts["calibration_variances"]).read_text().splitlines()) == 2


def test_the_second_stage_is_kept_and_makes_its_samples(measured: Any) -> None:
    bench, _, reports = measured
    end = reports[-1]["end"]
    stage = SecondStage(4, SecondStageSettings(**STAGE))
    stage.load_state_dict(
        torch.load(bench.home / end["artifacts"]["second_stage"], weights_only=True)
    )
    images = trained(bench, end).decode(stage.sample(200, 0)).detach()
    data, store = Dataset.open(bench.data, 220), Path(bench.data.files["train"]).parent
    features = classifier(bench.data, store, "cpu")
    reference = References(bench.data, store).of(features, data.test, "test", 200)
    value = frechet(reference.statistics, Statistics.of(features(images)))
    assert end["metrics"]["test/frechet_classifier_gen2"] == pytest.approx(value, rel=1e-4)


def test_the_second_stage_is_charged_under_its_own_name(measured: Any) -> None:
    _, engine, reports = measured
    assert reports[-1]["seconds"]["second_stage"] > 0
    assert all(report["seconds"]["second_stage"] == 0 for report in reports[:-1])
    seconds = engine.stop()["seconds"]
    charged = sum(seconds[name] for name in ("training", "evaluation", "second_stage"))
    assert charged == pytest.approx(spent(reports))
    assert seconds["second_stage"] == pytest.approx(reports[-1]["seconds"]["second_stage"])


@pytest.mark.parametrize("trials", ["confirm", "all"])
def test_search_trials_get_a_final_evaluation_if_the_spec_says_so(
    bench: Bench, trials: str
) -> None:
    end = follow(bench.engine(trials=trials), request("s", phase="search"))[-1]["end"]
    assert ("test/smoothness" in end["metrics"]) == (trials == "all")
    assert end["artifacts"] == {}, "files are for confirm runs"
    assert not bench.folder("s").exists() or not list(bench.folder("s").glob("*.png"))


def test_a_distance_can_be_the_objective(bench: Bench) -> None:
    asked = {"features": ["classifier"], "samples": 100, "objective": "frechet_classifier_gen1"}
    longer = {"epochs": 60, "lr": 1e-2}
    reports = follow(bench.engine(**asked), request("d", phase="search", training=longer))
    values = [r["metrics"]["validation/frechet_classifier_gen1"] for r in reports]
    assert values[-1] < values[0], "samples get better as the model learns"
    assert "test/frechet_classifier_gen1" in reports[-1]["end"]["metrics"]


def test_samples_that_are_no_numbers_have_no_distance(bench: Bench) -> None:
    """As bytes, which networks see, they would be black images."""
    asked = {"features": ["classifier"], "samples": 100, "objective": "frechet_classifier_gen1"}
    evaluation = bench.engine(**asked)._evaluation
    broken = MLP(ImageShape(1, 8, 8), latent=4, width=16).eval()
    name = "validation/frechet_classifier_gen1"
    assert math.isfinite(evaluation.objective_on("validation", broken, lambda: None)[name])
    for parameter in broken.parameters():
        torch.nn.init.constant_(parameter, math.nan)
    assert math.isnan(evaluation.objective_on("validation", broken, lambda: None)[name])


def test_a_row_with_a_head_is_measured_by_its_own_likelihood(bench: Bench) -> None:
    engine = bench.engine(width=2)
    head = request("h", phase="confirm", balancer={"name": "predicted_pixel_sigma"})
    plain = request("p", phase="confirm")
    engine.admit(plain)
    engine.admit(head)
    for name in ("p", "h"):
        reports = fetch(engine, name, 1)
        while "end" not in reports[-1]:
            reports += engine.reports(name, len(reports))
        found = reports[-1]["end"]["metrics"]
        assert ("test/own_bits_per_dim" in found) == (name == "h")
        assert ('"head": "pixel"' in reports[0]["start"]["shape"]) == (name == "h")
    table = (bench.folder("h") / "calibration_variances.csv").read_text().splitlines()
    assert len(table) > 2, "each pixel has a variance of its own"


def begun(bench: Bench, **evaluation: Any) -> Engine:
    """An engine in the middle of a trial's second stage."""
    engine = bench.engine(generators=["second_stage"], **evaluation)
    engine.admit(request("t", phase="confirm"))
    fetch(engine, "t", 3)
    until(lambda: engine._slots.account.seconds["second_stage"] > 0, "the second stage")
    return engine


def test_a_final_evaluation_is_postponed_at_once_and_ends_the_same_elsewhere(bench: Bench) -> None:
    whole = follow(
        bench.engine(generators=["second_stage"], second_stage=STAGE),
        request("whole", phase="confirm"),
    )
    engine = begun(bench, second_stage=LONG)
    asked = time.monotonic()
    seconds = engine.suspend()
    assert time.monotonic() - asked < 30, "else it waits for a million epochs"
    assert seconds["t"] > 0
    account = engine.stop()
    assert account["unreported"] == {}
    saved = checkpoints.newest(bench.folder("t"))
    assert saved is not None
    assert saved.pending is not None
    assert saved.steps == 40
    again = bench.engine(epoch=2, generators=["second_stage"], second_stage=STAGE)
    rest = follow(again, request("t", phase="confirm", after=3))
    assert len(rest) == 1, "nothing is trained or reported twice"
    metrics = [report["metrics"] for report in (rest[0], whole[-1])]
    assert metrics[0] == metrics[1]
    assert rest[0]["end"]["metrics"] == whole[-1]["end"]["metrics"]
    assert rest[0]["seconds"]["training"] == 0.0
    assert digest(bench, "t") == digest(bench, "whole")


def digest(bench: Bench, trial: str) -> dict[str, str]:
    files = sorted(p for p in bench.folder(trial).iterdir() if p.suffix != ".ckpt")
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_a_killed_engine_loses_only_the_final_evaluation(bench: Bench) -> None:
    begun(bench, second_stage=LONG)  # and nobody stops it: its epoch is over
    again = bench.engine(epoch=2, generators=["second_stage"], second_stage=STAGE)
    rest = follow(again, request("t", phase="confirm", after=3))
    whole = follow(again, request("whole", phase="confirm"))
    assert numbers(rest)[-1].replace("trials/t/", "trials/whole/") == numbers(whole)[-1]
    assert rest[-1]["seconds"]["training"] == 0.0


def test_a_trial_released_while_it_is_measured_leaves(bench: Bench) -> None:
    engine = begun(bench, second_stage=LONG)
    engine.release("t")
    answered = threading.Event()

    def another() -> None:
        follow(engine, request("next", phase="search"))
        answered.set()

    threading.Thread(target=another, daemon=True).start()
    assert answered.wait(60), "its slot is free for the next"
    assert engine.stop()["unreported"]["t"] > 0
