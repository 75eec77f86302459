"""The list of metrics against what depends on it. (tests/test_docs.py: each is documented.)"""

from __future__ import annotations

from collections import Counter

import pytest

from study import metrics
from study.metrics import METRICS, OBJECTIVES, depends_on_beta, distance_name, recorded
from study.statistics.intervals import Interval
from vae_core.evaluation import distances
from vae_core.evaluation.likelihood import Measurement, calibrated

SPLITS = {"train", "validation", "test", ""}


def test_names_are_unique() -> None:
    counts = Counter(metric.name for metric in metrics._ALL)
    assert [name for name, count in counts.items() if count > 1] == []
    columns = Counter(name.replace("/", "_") for name in recorded(["train", "", "validation"]))
    assert max(columns.values()) == 1


@pytest.mark.parametrize("metric", OBJECTIVES.values(), ids=OBJECTIVES)
def test_an_objective_ranks_models_whatever_beta_was(metric: metrics.Metric) -> None:
    assert not metric.depends_on_beta
    assert not depends_on_beta(metric.name)
    assert metric.better == "lower"
    assert {"validation", "test"} <= set(metric.splits)


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_every_metric_says_where_it_is_recorded_and_shown(metric: metrics.Metric) -> None:
    assert metric.splits
    assert set(metric.curve) <= set(metric.splits) <= SPLITS
    if metric.table:
        assert "test" in metric.splits
    if metric.always:
        assert metric.network is None, "distances need a network that not every study has"
    assert "\n" not in metric.heading


@pytest.mark.parametrize("name", ["R", "train/S", "validation/MSE", "loss", "KL", "beta", "sigma2"])
def test_terms_of_the_training_loss_depend_on_beta(name: str) -> None:
    assert depends_on_beta(name)
    assert name not in OBJECTIVES


def test_distances_are_those_that_are_computed() -> None:
    assert list(metrics._DISTANCES) == list(distances.NAMES)
    names = [
        distance_name(network, distance, compared)
        for network in metrics._SPACES
        for distance in distances.NAMES
        for compared in metrics._COMPARED
    ]
    assert [metric.name for metric in METRICS.values() if metric.network] == names
    assert {"fid_gen1", "kid_rec", "recall_inception_gen2", "frechet_classifier_mixture"} <= set(
        names
    )
    assert set(metrics.GENERATED.values()) <= set(metrics._COMPARED)


def test_every_study_has_the_columns_that_the_tables_promise() -> None:
    promised = [
        "train/S", "train/MSE", "train/R", "train/loss", "sigma", "beta", "k",
        *(
            f"{split}/{name}"
            for split in ("validation", "test")
            for name in (
                "S", "MSE", "R", "calibrated_negative_elbo", "bits_per_dim", "active_units",
            )
        ),
    ]  # fmt: skip
    found = recorded(["train", "", "validation", "test"])
    assert [name for name in found if name in promised] == promised


def test_what_is_computed_at_a_report_is_declared() -> None:
    measured = Measurement(1.0, 1.0, 1 / 64, 1.0, 1.0, 1.0, 1.0, 1)
    computed = calibrated(measured, measured, dims=64)
    splits = {"validation", "test"}
    forgotten = [n for n in computed if n not in METRICS or not splits <= {*METRICS[n].splits}]
    assert not forgotten, f"add a row for validation and test to study/metrics.py: {forgotten}"


@pytest.mark.parametrize(
    ("lower", "mean", "upper", "shown"),
    [
        (0.21, 0.4, 0.59, "0.40 [0.21, 0.59]"),
        (-0.004, 0.4, 0.8, "0.40 [0.00, 0.80]"),
        (-0.0066, -0.005, -0.0034, "-0.005 [-0.007, -0.003]"),
        (-0.0039, -0.003, -0.0021, "-0.003 [-0.004, -0.002]"),
        (0.00002, 0.4, 0.8, "0.40000 [0.00002, 0.80000]"),
        (None, 0.4, None, "0.40"),
        (None, None, None, "-"),
    ],
)
def test_an_interval_shows_that_it_excludes_0(lower, mean, upper, shown) -> None:
    nats = METRICS["calibrated_negative_elbo"]
    assert nats.difference(Interval(mean, lower, upper, 9), unit=False) == shown
