from __future__ import annotations

from math import inf, nan

import pytest

from study.statistics.seeds import over_replicates


def test_a_seed_counts_with_the_mean_of_all_replicates() -> None:
    assert over_replicates([(7, 4.0), (3, 1.0), (3, 2.0), (7, 5.0)], 2) == ({3: 1.5, 7: 4.5}, [])


@pytest.mark.parametrize("score", [None, nan, inf])
def test_a_run_without_a_finite_score_loses_its_seed(score: float | None) -> None:
    assert over_replicates([(3, 1.0), (3, score), (7, score), (7, score)], 2) == ({}, [3, 7])


def test_a_seed_whose_runs_have_not_all_ended_is_neither() -> None:
    assert over_replicates([(3, 1.0), (7, 1.0), (7, 3.0)], 2) == ({7: 2.0}, [])
