"""QMC searches: each replicate even by itself (a net), none the repeat of another."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optuna.trial import TrialState
from scipy.stats import kstest
from simulation import BETA, TWO, Simulation, hand, spec

from study.journal import Journal
from study.search import Conductor

POINTS = 16


def searched(home: Path, space: Any, replicates: int = 1) -> dict[int, list[dict[str, Any]]]:
    """The points of each replicate, as they are asked; nothing is trained."""
    arms = {"qmc": hand("qmc", trials=POINTS, space=space, replicates=replicates)}
    conductor = Conductor(spec(arms), Journal(home), 64, slots=POINTS * replicates)
    points = defaultdict(list)
    while request := conductor.next():
        asked = conductor.trials[request.trial].trial.asked
        points[asked.replicate].append(dict(asked.params))
    return points


def unit(value: float, low: float, high: float) -> float:
    """Where a logarithmic range has ``value``, in [0, 1)."""
    return math.log(value / low) / math.log(high / low)


def test_each_sixteenth_of_the_range_holds_one_of_sixteen_trials_in_every_replicate(
    tmp_path: Path,
) -> None:
    found = searched(tmp_path, BETA, replicates=3)
    assert set(found) == {0, 1, 2}
    for points in found.values():
        cells = [int(POINTS * unit(p["beta"], 1e-3, 10)) for p in points]
        assert sorted(cells) == list(range(POINTS))


def test_two_ranges_are_even_in_every_split_of_sixteen_cells(tmp_path: Path) -> None:
    (points,) = searched(tmp_path, TWO).values()
    at = [(unit(p["beta"], 1e-3, 10), unit(p["training.lr"], 1e-4, 1e-2)) for p in points]
    for across in (1, 2, 4, 8, 16):
        cells = {(int(across * x), int(POINTS // across * y)) for x, y in at}
        assert len(cells) == POINTS, f"{across} x {POINTS // across}"


def test_a_list_is_drawn_evenly_beside_a_range(tmp_path: Path) -> None:
    space = {**BETA, "training.lr": [1e-4, 1e-3, 1e-2, 1e-1]}
    (points,) = searched(tmp_path, space).values()
    assert set(Counter(p["training.lr"] for p in points).values()) == {POINTS // 4}


def test_replicates_are_as_independent_as_random_ones(tmp_path: Path) -> None:
    replicates = 200
    found = searched(tmp_path, BETA, replicates)
    at = np.array([[unit(p["beta"], 1e-3, 10) for p in found[r]] for r in range(replicates)])
    assert len(np.unique(at)) == at.size
    for number in (0, 1, POINTS - 1):  # each place of the sequence is uniform over replicates
        assert kstest(at[:, number], "uniform").pvalue > 0.01
        assert abs(np.corrcoef(at[:-1, number], at[1:, number])[0, 1]) < 2.6 / math.sqrt(replicates)


@pytest.mark.parametrize("every", [3, 5])
def test_a_sequence_goes_on_where_a_crash_left_it(tmp_path: Path, every: int) -> None:
    arms = {"qmc": hand("qmc", trials=8, batch=2, replicates=2)}
    whole = Simulation(tmp_path / "a", spec(arms), slots=2).run(order=1)
    torn = Simulation(tmp_path / "b", spec(arms), slots=2).run(order=2, crash_every=every)
    assert torn.table() == whole.table()
    search = next(q.phase for q in whole.conductor.trials.values() if q.phase.phase == "search")
    assert search.trial(0).state is TrialState.COMPLETE
