from __future__ import annotations

import pytest

from study.analysis.answers.verdict import Comparison, Outcome, compare
from study.metrics import (
    BITS_PER_DIM,
    CALIBRATED_ELBO,
    METRICS,
    OBJECTIVES,
    Metric,
    second_objective,
)
from study.statistics.intervals import Interval, mean_interval


def judge(difference: Interval, ratio: float | None = 13.0) -> Comparison:
    return compare(
        "tpe", "sigma", CALIBRATED_ELBO, difference=difference,
        ratio_images=ratio, ratio_standard=ratio,
    )  # fmt: skip


def test_a_better_model_pays_at_a_named_price() -> None:
    verdict = judge(Interval(-0.4, -0.6, -0.2, 5))
    assert verdict.outcome is Outcome.PAYS
    assert verdict.sentence == (
        "Searching pays where the gain is worth 13.0 times the training: by calibrated -ELBO (nats "
        "per image, lower is better) on test, hand-tuned tpe found a better model than sigma, by "
        "0.40 nats per image [0.20, 0.60] over 5 paired seeds; tpe costs 13.0x the images of sigma "
        "to one model."
    )


def test_a_worse_model_does_not_pay() -> None:
    verdict = judge(Interval(0.4, 0.2, 0.6, 5))
    assert verdict.outcome is Outcome.DOES_NOT_PAY
    assert "automatic sigma is better than hand-tuned tpe, by 0.40 nats" in verdict.sentence
    assert verdict.sentence.startswith("Searching does not pay: by ")


@pytest.mark.parametrize("bounds", [(-0.1, 0.3), (0.0, 0.3), (-0.3, 0.0)])
def test_an_interval_that_holds_zero_shows_no_difference(bounds: tuple[float, float]) -> None:
    verdict = judge(Interval(sum(bounds) / 2, *bounds, n=4))
    assert verdict.outcome is Outcome.NOT_SHOWN
    assert "no difference between tpe and sigma could be shown" in verdict.sentence
    assert verdict.sentence.startswith("Searching is not shown to pay: by ")


def test_equal_on_every_seed() -> None:
    verdict = judge(mean_interval([0.0, 0.0]))
    assert verdict.outcome is Outcome.NOT_SHOWN
    assert "tpe and sigma are equal on all 2 paired seeds" in verdict.sentence


@pytest.mark.parametrize(
    ("values", "ratio", "says"),
    [
        ([0.3], 2.0, "one seed gives no interval"),
        ([], 2.0, "there is no value"),
        ([-0.3, -0.4], None, "not known yet for both"),
    ],
)
def test_what_cannot_be_decided(values: list[float], ratio: float | None, says: str) -> None:
    verdict = judge(mean_interval(values), ratio)
    assert verdict.outcome is Outcome.UNKNOWN
    assert says in verdict.sentence
    assert verdict.sentence.startswith("Whether searching pays can't be told yet: by ")


def test_numbers_carry_their_objective_s_digits() -> None:
    assert CALIBRATED_ELBO.number(-0.0001) == "0.00"
    assert CALIBRATED_ELBO.number(None) == "-"
    assert BITS_PER_DIM.difference(Interval(0.01, 0.0, 0.02, 3), unit=False) == (
        "0.0100 [0.0000, 0.0200]"
    )
    assert CALIBRATED_ELBO.heading == "calibrated -ELBO (nats per image, lower is better)"
    assert BITS_PER_DIM.heading == "bits per dimension (lower is better)"


@pytest.mark.parametrize(
    ("first", "features", "second"),
    [
        ("calibrated_elbo", [], BITS_PER_DIM),
        ("bits_per_dim", [], CALIBRATED_ELBO),
        ("calibrated_elbo", ["classifier"], METRICS["frechet_classifier_gen1"]),
        ("bits_per_dim", ["classifier"], METRICS["frechet_classifier_gen1"]),
        ("calibrated_elbo", ["inception"], METRICS["fid_gen1"]),
        ("bits_per_dim", ["classifier", "inception"], METRICS["fid_gen1"]),
        ("calibrated_elbo", ["inception", "classifier"], METRICS["fid_gen1"]),
        ("frechet_classifier_gen1", ["classifier"], CALIBRATED_ELBO),
        ("frechet_classifier_gen1", ["classifier", "inception"], CALIBRATED_ELBO),
        ("fid_gen1", ["inception"], CALIBRATED_ELBO),
        ("one of a later version", [], CALIBRATED_ELBO),
    ],
)
def test_what_is_shown_beside_is_another_kind_of_quality(
    first: str, features: list[str], second: Metric
) -> None:
    assert second_objective(first, features) is second


def test_every_objective_of_a_spec_can_be_written() -> None:
    known = {"calibrated_elbo", "bits_per_dim", "frechet_classifier_gen1", "fid_gen1"}
    assert set(OBJECTIVES) == known
    assert METRICS["fid_gen1"].heading == "FID of prior samples (lower is better)"
    assert METRICS["fid_gen1"].difference(Interval(1.5, 1.0, 2.0, 3)) == "1.50 [1.00, 2.00]", (
        "it has no unit"
    )
