from __future__ import annotations

from itertools import product
from math import hypot, inf

import pytest
import scipy.stats

from study.analysis.answers.design import NAMED, SAME_SEEDS, Design
from study.analysis.answers.verdict import Comparison, compare, headline
from study.analysis.answers.verdict_sentences import Outcome
from study.metrics import (
    BITS_PER_DIM,
    CALIBRATED_NEGATIVE_ELBO,
    METRICS,
    OBJECTIVES,
    Metric,
    second_objective,
)
from study.statistics.choice import error_of
from study.statistics.intervals import Interval
from study.statistics.paired import Differences

SIX = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)


def judge(
    differences: Differences | tuple[float, ...],
    ratio: float | None = 13.0,
    pair: tuple[str, str] = ("tpe", "sigma"),
    *,
    looks: bool = False,
    margin: float | None = None,
) -> Comparison:
    if not isinstance(differences, Differences):
        differences = Differences(differences)
    return compare(
        *pair,
        CALIBRATED_NEGATIVE_ELBO,
        differences,
        ratio_images=ratio,
        ratio_standard=ratio,
        margin=margin,
        looks=looks,
    )


def test_a_better_model_pays_at_a_named_price() -> None:
    verdict = judge(tuple(-value for value in SIX))
    assert verdict.outcome is Outcome.PAYS
    # The sign test of 6 seeds bounds the median by their range, wider here than t's 3.5 +- 1.96.
    assert verdict.sentence == (
        "Searching pays where the gain is worth 13.0 times the training: by calibrated negative "
        "ELBO (nats per image, lower is better) on test, hand-tuned tpe found a better model than "
        "sigma, by 3.50 nats per image [1.00, 6.00] over 6 paired seeds on this test set; tpe "
        "costs 13.0x the images of sigma to one model."
    )
    half = scipy.stats.t.ppf(0.975, 5) * scipy.stats.sem(SIX)
    assert verdict.over_seeds.half_width == pytest.approx(half)


def test_a_worse_model_does_not_pay() -> None:
    verdict = judge(SIX)
    assert verdict.outcome is Outcome.DOES_NOT_PAY
    assert "automatic sigma is better than hand-tuned tpe, by 3.50 nats" in verdict.sentence
    assert verdict.sentence.startswith("Searching does not pay: by ")


def test_test_images_are_joined_to_the_seeds() -> None:
    images = scipy.stats.t.ppf(0.975, 296) * 0.5
    verdict = judge(Differences(SIX, image_variance=0.25, images=297))
    assert verdict.difference.lower == pytest.approx(3.5 - hypot(2.5, images))
    assert verdict.difference.upper == pytest.approx(3.5 + hypot(2.5, images))
    assert "over 6 paired seeds and 297 images;" in verdict.sentence
    assert verdict.over_seeds == judge(SIX).over_seeds


@pytest.mark.parametrize("least", [-0.1, 0.0])
def test_an_interval_that_holds_zero_is_inconclusive(least: float) -> None:
    verdict = judge((least, *SIX[1:]))
    assert verdict.outcome is Outcome.NOT_SHOWN
    assert "no difference between tpe and sigma could be shown" in verdict.sentence
    assert verdict.sentence.startswith("Inconclusive: by ")


def test_an_interval_within_the_margin_says_that_automatic_is_no_worse() -> None:
    """Its lower end is the least of six differences: automatic may be worse by 0.1."""
    values = (-0.1, *SIX[1:])
    assert not judge(values, margin=0.1).no_worse
    found = judge(values, margin=0.2)
    assert found.no_worse
    assert found.outcome is Outcome.NOT_SHOWN
    assert found.sentence.startswith(
        "Inconclusive, and automatic is no worse by the margin of 0.2: by "
    )
    assert not judge(SIX, margin=0.2).no_worse, "better is said instead"


def test_looking_again_and_again_takes_a_wider_interval() -> None:
    """Seven wins of seven are the fewest that can decide, and here the mean does not."""
    values = (0.2, *SIX[1:], 9.0)
    once, often = judge(values), judge(values, looks=True)
    assert (once.outcome, often.outcome) == (Outcome.DOES_NOT_PAY, Outcome.NOT_SHOWN)
    few = judge(SIX, looks=True)
    assert few.outcome is Outcome.UNKNOWN
    assert few.sentence.startswith("Inconclusive by design (6 seeds cannot decide, 7 can): ")


def test_five_seeds_can_decide_nothing() -> None:
    verdict = judge((0.8, 0.81, 0.82, 0.83, 0.84))
    assert verdict.outcome is Outcome.UNKNOWN
    assert verdict.sentence.startswith("Inconclusive by design (5 seeds cannot decide, 6 can): by ")
    half = scipy.stats.t.ppf(0.975, 4) * scipy.stats.sem([0.8, 0.81, 0.82, 0.83, 0.84])
    assert verdict.difference.half_width == pytest.approx(half), "t is shown, and decides nothing"


@pytest.mark.parametrize(
    ("failed", "outcome"),
    [
        ((0, 1), Outcome.DOES_NOT_PAY),  # 9 of 10 wins: 10 of 1024 and 1 more
        ((0, 3), Outcome.NOT_SHOWN),  # 9 of 12: 299 of 4096
        ((3, 0), Outcome.DOES_NOT_PAY),
    ],
)
def test_failed_seeds_count_against_their_arm(failed: tuple[int, int], outcome: Outcome) -> None:
    values = tuple(1 + 0.1 * i for i in range(9))
    verdict = judge(Differences(values, failed=failed))
    assert verdict.outcome is outcome
    assert verdict.difference.mean == judge(values).difference.mean, "that of those that ran"
    arm, lost = ("tpe", failed[0]) if failed[0] else ("sigma", failed[1])
    assert f"; {lost} of {arm}'s {9 + lost} seeds failed, which count" in verdict.sentence


@pytest.mark.parametrize(
    ("failed", "shown", "ends"),
    [((1, 0), "[0.68, 1.60]", (0.68, 1.6)), ((4, 0), "(at least 0.68)", (0.68, inf))],
)
def test_failures_that_decide_are_in_the_interval_that_is_shown(
    failed: tuple[int, int], shown: str, ends: tuple[float, float]
) -> None:
    """Seven wins of eight do not decide; with failures of the other arm they are enough."""
    values = (-0.1, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6)
    assert judge(values).outcome is Outcome.NOT_SHOWN
    verdict = judge(Differences(values, failed=failed))
    assert verdict.outcome is Outcome.DOES_NOT_PAY
    assert verdict.ends == pytest.approx(ends, abs=0.005)
    assert f"is better than hand-tuned tpe, by 1.12 nats per image {shown} " in verdict.sentence
    assert "against it, without which nothing is decided; " in verdict.sentence
    turned = judge(Differences(tuple(-v for v in values), failed=failed[::-1]))
    assert turned.outcome is Outcome.PAYS
    assert f"found a better model than sigma, by 1.12 nats per image {shown}" in turned.sentence


def test_an_arm_that_wins_where_it_runs_and_fails_often_is_shown_without_that_end() -> None:
    verdict = judge(Differences(tuple(-1 - 0.1 * i for i in range(8)), failed=(4, 0)), margin=9)
    assert verdict.outcome is Outcome.NOT_SHOWN
    assert verdict.no_worse
    assert verdict.difference.lower is None
    says = "no difference between tpe and sigma could be shown: -1.35 nats per image (not below -1."
    assert says in verdict.sentence


def test_a_pair_that_was_chosen_again_has_a_smaller_error() -> None:
    """At 1.25 % six seeds bound no median, and t's interval is the one at 97.5 %."""
    again = compare(
        "tpe", "sigma", CALIBRATED_NEGATIVE_ELBO, Differences(SIX),
        ratio_images=2.0, ratio_standard=2.0, error=error_of(2),
    )  # fmt: skip
    assert again.sentence.startswith("Inconclusive by design (6 seeds cannot decide, 7 can)")
    half = scipy.stats.t.ppf(0.9875, 5) * scipy.stats.sem(SIX)
    assert again.difference.half_width == pytest.approx(half)


def test_equal_on_every_seed() -> None:
    verdict = judge((0.0,) * 6)
    assert verdict.outcome is Outcome.NOT_SHOWN
    assert "tpe and sigma are equal on all 6 paired seeds" in verdict.sentence


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ((0.3,), "Inconclusive by design (1 seed cannot decide, 6 can): "),
        ((), "Whether searching pays can't be told: "),
        ((0.5,) * 6, "Whether searching pays can't be told: "),
    ],
)
def test_what_cannot_be_decided(values: tuple[float, ...], says: str) -> None:
    verdict = judge(values)
    assert verdict.outcome is Outcome.UNKNOWN
    assert verdict.sentence.startswith(says)
    assert verdict.difference.lower is None
    assert verdict.difference.why in verdict.sentence


def test_a_price_that_is_not_known_is_said() -> None:
    verdict = judge(SIX, None)
    assert verdict.outcome is Outcome.DOES_NOT_PAY
    assert "what a model costs is not known for both" in verdict.sentence


def test_a_named_pair_is_the_headline_whatever_else_is_better() -> None:
    comparisons = [
        judge(SIX, pair=("tpe", "sigma")),
        judge(tuple(-v for v in SIX), pair=("tpe", "other")),
    ]
    found = headline(comparisons, Design(NAMED, ("tpe", "other"), [], until_decided=False))
    assert found is comparisons[1]


def test_without_a_pair_the_best_arms_are_compared_by_bounds_that_count_the_choice() -> None:
    """Hsu's bounds by brute force: max over a of min over h, each at .025 over the arms."""
    shift = {("h1", "a1"): 0.0, ("h1", "a2"): 0.6, ("h2", "a1"): 0.2, ("h2", "a2"): 0.8}
    base = [0.5, 0.7, 0.9, 1.1, 1.3, 1.5, 1.7, 1.9, 2.1, 2.3]
    by_pair = {pair: tuple(v + more for v in base) for pair, more in shift.items()}
    comparisons = [judge(values, pair=pair) for pair, values in by_pair.items()]
    found = headline(comparisons, Design(SAME_SEEDS, None, [], until_decided=False))

    def end(pair: tuple[str, str], sign: int) -> float:
        values = sorted(sign * v for v in by_pair[pair])
        t = scipy.stats.t.ppf(1 - 0.0125, 9) * scipy.stats.sem(values)
        rank = sum(scipy.stats.binom.cdf(k, 10, 0.5) <= 0.0125 for k in range(10))
        return sign * min(sum(values) / 10 - t, values[rank - 1])

    hands, automatic = ("h1", "h2"), ("a1", "a2")
    lower = max(min(end((h, a), 1) for h in hands) for a in automatic)
    upper = min(max(end((h, a), -1) for a in automatic) for h in hands)
    assert found is not None
    assert (found.hand, found.automatic, found.among) == ("h1", "a2", (2, 2))
    assert found.difference == Interval(
        pytest.approx(2.0), pytest.approx(lower), pytest.approx(upper), 10
    )
    assert found.outcome is Outcome.DOES_NOT_PAY
    assert "the best automatic arm is better than every hand-tuned one, by 2.00" in found.sentence
    assert "the best of 2 hand-tuned and 2 automatic arms" in found.sentence
    assert not found.no_worse
    assert found.sentence.endswith("h1 costs 13.0x the images of a2 to one model.")


def best(by_pair: dict[tuple[str, str], Differences]) -> Comparison:
    """Best against best of these pairs."""
    comparisons = [judge(one, pair=pair) for pair, one in by_pair.items()]
    found = headline(comparisons, Design(SAME_SEEDS, None, [], until_decided=False))
    assert found is not None
    return found


@pytest.mark.parametrize("turned", [False, True])
def test_more_arms_on_a_side_take_more_seeds_to_decide_for_it(turned: bool) -> None:
    """Six seeds are too few for the best of four arms (8), and enough for the side of one."""
    sign = -1 if turned else 1
    pairs = [("h1", f"a{i}")[:: -1 if turned else 1] for i in range(4)]
    against = best({pair: Differences(tuple(sign * v for v in SIX)) for pair in pairs})
    assert against.outcome is Outcome.NOT_SHOWN
    could, other = ("does not pay", "pays") if turned else ("pays", "does not")
    says = f"Inconclusive (6 seeds can only show that searching {could}: that it {other} takes 8): "
    assert against.sentence.startswith(says)
    assert against.difference.lower is None, "an interval of the pair that looks best is wrong"
    favoured = best({pair: Differences(tuple(-sign * v for v in SIX)) for pair in pairs})
    assert favoured.outcome is (Outcome.DOES_NOT_PAY if turned else Outcome.PAYS)
    assert "by 3.50 nats per image (at least 1.00) over 6 paired seeds" in favoured.sentence


def test_an_arm_without_a_result_is_named_beside_the_best_of_the_others() -> None:
    """The price counts it among those that were chosen from."""
    found = best(
        {("h", "a"): Differences(SIX), ("h", "b"): Differences(SIX), ("h", "c"): Differences(())}
    )
    assert "the best of 1 hand-tuned and 2 automatic arms" in found.sentence
    assert "; c has no result; h costs" in found.sentence
    assert "; c has no result" in found.finding


def test_too_few_seeds_for_either_side_are_inconclusive_by_design() -> None:
    pairs = product(("h1", "h2"), ("a1", "a2", "a3", "a4"))
    found = best({pair: Differences(SIX) for pair in pairs})
    assert found.outcome is Outcome.UNKNOWN
    assert found.sentence.startswith("Inconclusive by design (6 seeds cannot decide, 7 can): ")
    assert found.difference.lower is None


def test_the_size_is_that_of_an_arm_that_did_not_fail() -> None:
    noise = [0.1 * i for i in range(12)]
    found = best(
        {
            ("h", "fails"): Differences(tuple(5 + v for v in noise[4:]), failed=(0, 4)),
            ("h", "sound"): Differences(tuple(0.5 + v for v in noise)),
        }
    )
    assert found.outcome is Outcome.DOES_NOT_PAY
    assert (found.automatic, found.difference.n) == ("sound", 12)
    assert found.difference.mean == pytest.approx(1.05)
    assert "better than every hand-tuned one, by 1.05 nats per image [" in found.sentence
    assert "; 4 of fails's 12 seeds failed, which count against it;" in found.sentence


def test_a_hand_tuned_arm_that_fails_does_not_keep_the_better_ones_from_it() -> None:
    """Nine wins of nine, and three seeds more on which the only hand-tuned arm failed."""
    wins = tuple(5 + 0.1 * i for i in range(9))
    pairs = {("h", a): Differences(wins, failed=(3, 0)) for a in ("a1", "a2")}
    found = best(pairs)
    assert found.outcome is Outcome.DOES_NOT_PAY
    assert found.difference.mean == pytest.approx(5.4)
    assert (found.difference.lower, found.difference.upper) == (None, None)
    assert "; 3 of h's 12 seeds failed, which count against it;" in found.sentence


def test_seeds_that_failed_are_not_the_design_s_fault() -> None:
    found = compare(
        "tpe",
        "sigma",
        CALIBRATED_NEGATIVE_ELBO,
        Differences((0.1, 0.3), failed=(4, 0)),
        ratio_images=2.0,
        ratio_standard=2.0,
        lost=10,
    )
    assert found.outcome is Outcome.UNKNOWN
    says = "Inconclusive (10 of 12 seeds failed, and the 2 others cannot decide, 6 can): "
    assert found.sentence.startswith(says)


def test_numbers_carry_their_objective_s_digits() -> None:
    assert CALIBRATED_NEGATIVE_ELBO.number(-0.0001) == "0.00"
    assert CALIBRATED_NEGATIVE_ELBO.number(None) == "-"
    assert BITS_PER_DIM.difference(Interval(0.01, 0.0, 0.02, 3), unit=False) == (
        "0.0100 [0.0000, 0.0200]"
    )
    assert (
        CALIBRATED_NEGATIVE_ELBO.heading
        == "calibrated negative ELBO (nats per image, lower is better)"
    )
    assert BITS_PER_DIM.heading == "bits per dimension (lower is better)"


@pytest.mark.parametrize(
    ("first", "features", "second"),
    [
        ("calibrated_negative_elbo", [], BITS_PER_DIM),
        ("bits_per_dim", [], CALIBRATED_NEGATIVE_ELBO),
        ("calibrated_negative_elbo", ["classifier"], METRICS["frechet_classifier_gen1"]),
        ("bits_per_dim", ["classifier"], METRICS["frechet_classifier_gen1"]),
        ("calibrated_negative_elbo", ["inception"], METRICS["fid_gen1"]),
        ("bits_per_dim", ["classifier", "inception"], METRICS["fid_gen1"]),
        ("calibrated_negative_elbo", ["inception", "classifier"], METRICS["fid_gen1"]),
        ("frechet_classifier_gen1", ["classifier"], CALIBRATED_NEGATIVE_ELBO),
        ("frechet_classifier_gen1", ["classifier", "inception"], CALIBRATED_NEGATIVE_ELBO),
        ("fid_gen1", ["inception"], CALIBRATED_NEGATIVE_ELBO),
        ("one of a later version", [], CALIBRATED_NEGATIVE_ELBO),
    ],
)
def test_what_is_shown_beside_is_another_kind_of_quality(
    first: str, features: list[str], second: Metric
) -> None:
    assert second_objective(first, features) is second


def test_every_objective_of_a_spec_can_be_written() -> None:
    known = {"calibrated_negative_elbo", "bits_per_dim", "frechet_classifier_gen1", "fid_gen1"}
    assert set(OBJECTIVES) == known
    assert METRICS["fid_gen1"].heading == "FID of prior samples (lower is better)"
    assert METRICS["fid_gen1"].difference(Interval(1.5, 1.0, 2.0, 3)) == "1.50 [1.00, 2.00]", (
        "it has no unit"
    )


def test_what_searched_nothing_is_no_search_that_pays() -> None:
    values = tuple(-1.0 - n / 100 for n in range(12))
    given = compare(
        "fixed", "sigma", CALIBRATED_NEGATIVE_ELBO, Differences(values),
        ratio_images=1.0, ratio_standard=1.0, searched=False,
    )  # fmt: skip
    assert given.opening == "Setting the balance by hand pays"
    few = compare(
        "fixed", "sigma", CALIBRATED_NEGATIVE_ELBO, Differences(values[:0]),
        ratio_images=None, ratio_standard=None, searched=False,
    )  # fmt: skip
    assert few.opening == "Whether setting the balance by hand pays can't be told"


def test_failures_are_said_of_arms_that_are_equal_where_they_ran() -> None:
    found = compare(
        "tpe", "sigma", CALIBRATED_NEGATIVE_ELBO, Differences((0.0,) * 6, failed=(0, 6)),
        ratio_images=1.0, ratio_standard=1.0,
    )  # fmt: skip
    assert "equal on all 6 paired seeds; 6 of sigma's 12 seeds failed" in found.sentence
