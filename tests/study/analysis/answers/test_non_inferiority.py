from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import fmean
from typing import Any

import pytest
import scipy.stats

from study.analysis.answers.non_inferiority import NonInferiority
from study.analysis.answers.report import build_report
from study.analysis.records.tables import build_tables
from study.analysis.rendering.text import as_text

Make = Callable[..., Any]
HAND = {101: 9.0, 102: 9.4, 103: 9.1, 104: 9.2, 105: 9.3, 106: 9.5, 107: 8.9, 108: 9.6}
LOST = (0.1, 0.2, 0.1, 0.15, 0.05, 0.12, 0.18, 0.22)
"""What the automatic arm loses on each seed."""


def study_of(
    make_stream: Make, margin: float | None, lost: Mapping[int, float | None], **spec: Any
) -> Any:
    stream = make_stream(margin=margin, seeds=list(HAND))
    stream.describe(**spec)
    stream.search("tpe", [8.0], tests=[8.5])
    stream.confirm("tpe", {seed: HAND[seed] for seed in lost}, chosen_from=0)
    stream.confirm("sigma", {s: None if v is None else HAND[s] + v for s, v in lost.items()})
    return build_report(build_tables(stream.entries))


def found_in(report: Any) -> NonInferiority:
    (found,) = report.non_inferiority
    assert isinstance(found, NonInferiority)
    return found


def test_no_worse_where_the_mean_and_the_typical_seed_lose_less(make_stream: Make) -> None:
    report = study_of(make_stream, 0.5, dict(zip(HAND, LOST, strict=True)))
    found = found_in(report)
    assert found.shown is True
    assert found.difference.mean == pytest.approx(0.14)
    assert found.difference.upper == pytest.approx(0.22), "the 8th of 8 seeds: rank 1 of the sign"
    assert found.improvement.mean == 0.0
    assert found.sentence.startswith("sigma is no worse than tpe by the margin of 0.5")
    assert "the margin is 0.5" in " ".join(as_text(report).split())
    assert found.sentence in report.notes
    # Clopper and Pearson: 8 of 8 and 0 of 8.
    assert found.typical is not None
    assert found.collapsed is not None
    assert found.typical.at_least == pytest.approx(0.025 ** (1 / 8))
    assert found.collapsed.at_most == pytest.approx(1 - 0.05 ** (1 / 8))


def test_the_average_stands_unless_a_collapse_costs_more(make_stream: Make) -> None:
    found = found_in(study_of(make_stream, 0.5, dict(zip(HAND, LOST, strict=True))))
    loss = scipy.stats.t.ppf(1 - 0.0125, 7) * scipy.stats.sem(LOST) + 0.14
    share = 1 - 0.0125 ** (1 / 8)
    assert found.withstands == pytest.approx(loss + (0.5 - loss) / share)


def test_a_margin_too_small_for_the_seeds_shows_nothing(make_stream: Make) -> None:
    found = found_in(study_of(make_stream, 0.21, dict(zip(HAND, LOST, strict=True))))
    assert found.shown is False
    assert "is not shown to be no worse" in found.sentence


def test_without_a_margin_the_study_has_not_asked(make_stream: Make) -> None:
    found = found_in(study_of(make_stream, None, dict(zip(HAND, LOST, strict=True))))
    assert found.shown is None
    assert "sets no margin" in found.sentence


@pytest.mark.parametrize(("count", "why"), [(1, "one seed gives no interval"), (5, "5 seeds can")])
def test_too_few_seeds_say_so(make_stream: Make, count: int, why: str) -> None:
    lost = dict(list(zip(HAND, LOST, strict=True))[:count])
    found = found_in(study_of(make_stream, 0.5, lost))
    assert found.shown is None
    assert why in found.sentence


def test_a_seed_on_which_automatic_fails_is_lost_by_any_margin(make_stream: Make) -> None:
    lost = {**dict(zip(HAND, LOST, strict=True)), 103: None}
    report = study_of(make_stream, 0.5, lost)
    found = found_in(report)
    assert found.typical is not None
    assert found.collapsed is not None
    assert (found.typical.count, found.typical.n) == (7, 8)
    assert (found.collapsed.count, found.collapsed.n) == (1, 8)
    assert found.shown is False, "7 of 8 seeds are no 39 in 40"
    low, high = (100 * end for end in scipy.stats.binomtest(1, 8).proportion_ci(0.95, "exact"))
    share = f"sigma: collapsed on 1 of 8 seeds, 12 % [{low:.0f}, {high:.0f}]; 1 of its confirm runs"
    assert any(note.startswith(share) for note in report.notes)


def test_a_collapse_is_what_the_spec_says(make_stream: Make) -> None:
    lost = {**dict(zip(HAND, LOST, strict=True)), 108: 40.0}
    for collapse, count in (({}, 0), ({"worse_by": 30.0}, 1), ({"rate_below": 5.5}, 8)):
        found = found_in(study_of(make_stream, 0.5, lost, collapse=collapse))
        assert found.collapsed is not None
        assert found.collapsed.count == count, "every run of this stream has a rate of 5 nats"


@pytest.mark.parametrize("hand_fails", [0, 2, 3])
def test_the_risk_is_of_all_seeds_of_the_automatic_arm(make_stream: Make, hand_fails: int) -> None:
    """It failed on two of eight seeds, whether or not the hand-tuned arm did there too."""
    stream = make_stream(margin=0.5, seeds=list(HAND))
    stream.search("tpe", [8.0], tests=[8.5])
    failing = [*HAND][:hand_fails]
    hand = {seed: None if seed in failing else value for seed, value in HAND.items()}
    stream.confirm("tpe", hand, chosen_from=0)
    values = {s: HAND[s] + v for s, v in zip(HAND, LOST, strict=True)}
    stream.confirm("sigma", {**values, 101: None, 102: None})
    found = found_in(build_report(build_tables(stream.entries)))
    assert found.collapsed is not None
    assert (found.collapsed.count, found.collapsed.n) == (2, 8)
    at_most = scipy.stats.binomtest(2, 8, alternative="less").proportion_ci(0.95, "exact").high
    assert found.collapsed.at_most == pytest.approx(at_most)
    kept = LOST[max(2, hand_fails) :]
    loss = scipy.stats.t.ppf(1 - 0.0125, len(kept) - 1) * scipy.stats.sem(kept) + fmean(kept)
    share = scipy.stats.beta.ppf(1 - 0.0125, 3, len(kept))
    assert found.withstands == pytest.approx(loss + (0.5 - loss) / share)


def test_an_arm_that_fails_does_not_win_the_seed(make_stream: Make) -> None:
    """Sigma wins where both ran and where tpe alone failed; where both failed it is a tie."""
    stream = make_stream(seeds=list(HAND))
    stream.search("tpe", [8.0], tests=[8.5])
    stream.confirm("tpe", {**HAND, 101: None, 102: None}, chosen_from=0)
    values = {s: v - 1 for s, v in HAND.items()}
    stream.confirm("sigma", {**values, 101: None, 103: None, 104: None})
    wins = found_in(build_report(build_tables(stream.entries))).improvement
    assert (wins.mean, wins.n) == (5.5 / 8, 8)
    assert wins.lower == pytest.approx(scipy.stats.beta.ppf(0.025, 5, 4))
    assert wins.upper == pytest.approx(scipy.stats.beta.ppf(0.975, 7, 2))
