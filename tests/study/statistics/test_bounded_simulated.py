"""Searches until bounded on studies whose truth is known: a reduced run of simulate_bounded.py."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

STUDIES = 300
ALLOWED = 0.085
"""An interval that misses in 5 % of all studies does so in more of 300 once in 200 runs."""


@pytest.fixture(scope="module")
def simulate() -> Iterator[Any]:
    folder = str(Path(__file__).parent)
    sys.path.insert(0, folder)
    import simulate_bounded

    yield simulate_bounded
    sys.path.remove(folder)


@pytest.mark.parametrize("truth", [3, 10])
def test_a_look_after_every_trial_is_seldom_ever_wrong(simulate: Any, truth: int) -> None:
    cell = simulate.ever_wrong(np.random.default_rng(6), truth, STUDIES, cap=200)
    assert cell.both <= ALLOWED, cell


def test_a_search_ends_about_seven_times_its_break_even(simulate: Any) -> None:
    median, most = simulate.takes(np.random.default_rng(7), 6, STUDIES)
    assert 38 <= median <= 48
    assert 62 <= most <= 80


def test_the_report_of_a_whole_study_is_seldom_wrong(simulate: Any) -> None:
    world = simulate.World("valley", "none", 20)
    found = simulate.whole(np.random.default_rng(8), world, 0.2, 100, 120)
    assert found.cell.both <= 0.1, found
    assert found.bounded > 0.9
    assert found.reported > 0.6
