from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import scipy.stats

from study.analysis import as_text, build_report, build_tables

Make = Callable[..., Any]


def study_of(make_stream: Make, margin: float | None, sigma: dict[int, float | None]) -> Any:
    stream = make_stream(margin=margin)
    stream.search("tpe", [8.0], tests=[8.5])
    stream.confirm("tpe", {101: 9.0, 102: 9.4, 103: 9.1}, chosen_from=0)
    stream.confirm("sigma", sigma)
    return build_report(build_tables(stream.entries))


def test_no_worse_is_a_one_sided_paired_t_test_against_the_margin(make_stream: Make) -> None:
    report = study_of(make_stream, 0.5, {101: 9.1, 102: 9.6, 103: 9.2})
    (found,) = report.non_inferiority
    p = scipy.stats.ttest_1samp([0.1, 0.2, 0.1], 0.5, alternative="less").pvalue
    assert p < 0.025
    assert found.shown is True
    assert found.difference.mean == pytest.approx(0.4 / 3)
    assert found.improvement.mean == 0.0
    assert found.sentence.startswith("sigma is no worse than tpe by the margin of 0.5")
    assert "the margin is 0.5" in " ".join(as_text(report).split())


def test_a_margin_too_small_for_the_seeds_shows_nothing(make_stream: Make) -> None:
    (found,) = study_of(make_stream, 0.2, {101: 9.1, 102: 9.6, 103: 9.2}).non_inferiority
    assert found.shown is False
    assert "is not shown to be no worse" in found.sentence


def test_without_a_margin_the_study_has_not_asked(make_stream: Make) -> None:
    (found,) = study_of(make_stream, None, {101: 9.1, 102: 9.6}).non_inferiority
    assert found.shown is None
    assert "sets no margin" in found.sentence


def test_one_seed_says_why_nothing_can_be_said(make_stream: Make) -> None:
    (found,) = study_of(make_stream, 0.5, {101: 9.1, 102: None, 103: None}).non_inferiority
    assert found.shown is None
    assert "one seed gives no interval" in found.sentence
