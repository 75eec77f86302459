"""What a search may be given to begin with: `enqueue` and `warm_start`."""

from __future__ import annotations

from typing import Any

import pytest

from study.spec import SpecError, StudySpec

SPACE = {
    "beta": {"low": 1e-3, "high": 10, "log": True},
    "model.width": {"low": 8, "high": 32, "step": 8},
    "training.batch_size": [50, 100],
}


@pytest.fixture
def searching(base):
    def make(**search: Any) -> StudySpec:
        given = {"space": SPACE, "sampler": "tpe", "trials": 8, **search}
        return StudySpec.from_dict(base(arms={"a": {"balancer": "fixed_beta", "search": given}}))

    return make


def test_numbers_are_read_as_in_the_space(searching):
    search = (
        searching(enqueue=[{"beta": 1, "model.width": 16.0}, {"beta": "1e-2"}]).arms["a"].search
    )
    assert search.enqueue == [{"beta": 1.0, "model.width": 16}, {"beta": 0.01}]
    assert [type(value) for value in search.enqueue[0].values()] == [float, int]


@pytest.mark.parametrize(
    ("search", "where", "what"),
    [
        ({"enqueue": [{"beta": 11}]}, "enqueue.0.beta", "11 is not in the space"),
        ({"enqueue": [{"model.width": 12}]}, "enqueue.0.model.width", "12 is not in the space"),
        ({"enqueue": [{"training.batch_size": 60}]}, "enqueue.0.training", "60 is not in"),
        ({"enqueue": [{"bet": 1}]}, "enqueue.0.bet", "'bet' is not searched"),
        ({"enqueue": [{}]}, "enqueue.0", "no setting is given"),
        ({"enqueue": [{"beta": 1}] * 9}, "enqueue", "9 settings are to be tried first"),
        ({"warm_start": {"study": "x"}, "sampler": "random"}, "warm_start", "learns nothing"),
        ({"warm_start": {"study": "x"}, "sampler": "cmaes",
          "space": {"beta": SPACE["beta"]}}, "warm_start", "learns nothing"),
        ({"warm_start": {"study": "x", "images": 5}}, "warm_start.images", "is for trials of a"),
        ({"warm_start": {"study": "x", "storage": "s.db"}}, "warm_start.images",
         "an Optuna storage does not record images"),
        ({"warm_start": {"study": "x", "storage": "s.db", "images": 5}}, "device_seconds",
         "does not record device seconds"),
        ({"warm_start": {"study": "x", "storage": "postgresql://me:secret@db/x", "images": 5,
                         "device_seconds": 1}}, "warm_start.storage", "holds a password"),
    ],
)  # fmt: skip
def test_what_cannot_be_begun_with_is_refused(searching, search, where, what):
    with pytest.raises(SpecError) as caught:
        searching(**search)
    assert where in caught.value.where
    assert what in str(caught.value)


def test_a_grid_has_points_of_its_own(base):
    search = {"space": {"beta": [0.1, 1.0]}, "sampler": "grid", "enqueue": [{"beta": 1.0}]}
    with pytest.raises(SpecError, match="visits its own points"):
        StudySpec.from_dict(base(arms={"a": {"balancer": "fixed_beta", "search": search}}))


def test_a_spec_without_either_keeps_its_hash(searching):
    written = searching().to_dict()["arms"]["a"]["search"]
    assert not {"enqueue", "warm_start"} & set(written)
    given = searching(enqueue=[{"beta": 1.0}], warm_start={"study": "x"})
    assert StudySpec.from_dict(given.to_dict()).hash == given.hash != searching().hash
