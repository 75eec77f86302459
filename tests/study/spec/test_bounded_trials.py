"""Trials until break-even is bounded, as a study file gives them: what is wrong, and the remedy."""

from __future__ import annotations

from typing import Any

import pytest

from study.spec import StudySpec
from study.spec.overrides import apply_overrides

BETA = {"beta": {"low": 1e-3, "high": 10, "log": True}}
BOUNDED = {"until": "bounded", "at_most": 60}


@pytest.mark.parametrize(
    ("trials", "search", "key", "what", "remedy"),
    [
        ({"until": "bored", "at_most": 9}, {}, "trials.until", "'bored' is nothing", "bounded"),
        ({"at_most": 9}, {}, "trials", "'until' is missing", "until: bounded"),
        ({"until": "bounded"}, {}, "trials", "'at_most' is missing", "at_most: 200"),
        ({**BOUNDED, "at_most": 2}, {}, "trials.at_most", "2 cannot be", "3 to 10000"),
        ({**BOUNDED, "at_most": "x"}, {}, "trials.at_most", "'x' cannot be", "3 to 10000"),
        ({**BOUNDED, "from": 3}, {}, "trials.from", "unknown key 'from'", "at_most, batch, until"),
        ({**BOUNDED, "at_mots": 3}, {}, "trials.at_mots", "unknown key", "mean 'at_most'?"),
        ({**BOUNDED, "batch": 0}, {}, "batch", "0 should be", "1 or more"),
        ({**BOUNDED, "batch": 3}, {"batch": 4}, "trials.batch", "given twice", "leave out one"),
        (9, {"until": "bounded"}, "until", "'until' is a key of trials", "trials: {until"),
        (BOUNDED, {"sampler": "tpe"}, "sampler", "has sampler 'tpe'", "use sampler: random"),
        (BOUNDED, {"sampler": "qmc"}, "sampler", "are independent draws", "or give a number"),
        (BOUNDED, {"pruner": "median"}, "pruner", "has a pruner", "leave out pruner"),
        (BOUNDED, {"enqueue": [{"beta": 1}]}, "enqueue", "given settings", "leave out enqueue"),
        (BOUNDED, {"replicates": 2}, "replicates", "has replicates", "one sample"),
    ],
)
def test_what_is_wrong(
    searching: Any, refused: Any, trials: Any, search: Any, key: str, what: str, remedy: str
) -> None:
    error = refused(searching(BETA, trials=trials, **search))
    assert error.where.endswith(f"arms.a.search.{key}")
    assert what in error.what
    assert remedy in error.remedy


def test_a_grid_has_points_of_its_own(searching: Any, refused: Any) -> None:
    error = refused(searching({"beta": [0.1, 1.0, 2.0, 3.0]}, trials=BOUNDED, sampler="grid"))
    assert "trials of a grid of 4" in error.what


def test_an_override_is_named_where_it_is_wrong(base: Any, refused: Any) -> None:
    given = "arms.random.search.trials={until: bounded, at_most: 1}"
    assert refused(base(), given).where.startswith(f"--set {given}")


def test_an_override_raises_the_cap_or_gives_a_number(searching: Any) -> None:
    frozen = StudySpec.from_dict(searching(BETA, trials=BOUNDED)).to_dict()

    def search(override: str) -> Any:
        return StudySpec.from_dict(apply_overrides(frozen, [override])[0]).arms["a"].search

    assert search("arms.a.search.trials.at_most=90").trials == 90
    assert search("arms.a.search.trials.batch=9").batch_size == 9
    fixed = search("arms.a.search.trials=12")
    assert (fixed.trials, fixed.until, fixed.batch_size) == (12, None, 12)
