"""What a search by generations may be, and what it comes to."""

from __future__ import annotations

from typing import Any

import pytest

from study.spec import SpecError, StudySpec, difference
from study.spec.errors import Source
from study.spec.fairness import warnings
from study.spec.names import check_beginning
from study.spec.roles import arm_roles

BETA = {"low": 1e-3, "high": 10, "log": True}
RATE = {"low": 1e-4, "high": 1e-2, "log": True}


@pytest.fixture
def evolving(base: Any) -> Any:
    """Makes a study whose arm ``a`` searches beta and a learning rate in 5 generations of 4."""

    def make(reports: int = 10, population: int = 4, **changes: Any) -> StudySpec:
        space = {"beta": BETA, "training.lr": RATE}
        sampler = {"name": "pbt", "population": population}
        search = {"space": space, "sampler": sampler, "trials": 20, **changes}
        arms = {
            "a": {"balancer": "fixed_beta", "search": search},
            "b": {"balancer": "learned_sigma"},
        }
        return StudySpec.from_dict(base(training={"epochs": 2, "reports": reports}, arms=arms))

    return make


def test_twenty_trials_of_a_fifth_are_four_trainings(evolving: Any) -> None:
    search = evolving().arms["a"].search
    assert (search.batch_size, search.generations, search.trainings) == (4, 5, 4)


def test_other_searches_are_of_whole_trainings(searching: Any) -> None:
    search = StudySpec.from_dict(searching({"beta": BETA})).arms["a"].search
    assert search is not None
    assert (search.generations, search.trainings) == (1, 8)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"trials": 18}, "18 trials are not two or more generations of 4"),
        ({"trials": 4}, "4 trials are not two or more generations of 4"),
        ({"reports": 12}, "12 reports do not divide into the 5 generations of arm 'a'"),
        ({"space": {"beta": BETA, "model.latent": {"low": 2, "high": 9}}}, "'model.latent' cannot"),
        ({"space": {"training.epochs": {"low": 1, "high": 9}}}, "'training.epochs' cannot change"),
        ({"space": {"beta": [0.1, 1.0]}}, "draws from ranges only"),
        ({"space": {"beta": {"low": 1, "high": 9, "step": 2}}}, "no range without steps"),
        ({"pruner": "median"}, "pruner is given too"),
        ({"enqueue": [{"beta": 1.0}]}, "enqueue is given too"),
        ({"batch": 5}, "asks one population of 4"),
        ({"sampler": "pbt"}, "needs population"),
        ({"sampler": {"name": "pbt", "population": 4, "quantile": 0.6}}, "0.5 at most"),
        ({"sampler": {"name": "pbt", "population": 4, "resample": 2}}, "a number from 0 to 1"),
        ({"warm_start": {"study": "x"}}, "learns nothing from trials it did not ask for"),
    ],
)
def test_a_search_that_cannot_be_made_is_refused(
    evolving: Any, changes: dict[str, Any], what: str
) -> None:
    with pytest.raises(SpecError) as caught:
        evolving(**changes)
    assert what in str(caught.value)


@pytest.mark.parametrize(
    ("balancer", "start", "other"),
    [
        ("learned_sigma", "log_sigma_init", "sigma_lr"),
        ("student_t", "log_df_init", "df_lr"),
        ("laplace_scale", "scale_init", "k"),
        ({"name": "dynamic_vae", "target": 5}, "beta_init", "beta_min"),
    ],
)
def test_what_acts_at_the_start_only_cannot_be_changed_within_a_training(
    searching: Any, balancer: Any, start: str, other: str
) -> None:
    def check(key: str, sampler: Any, begun: frozenset[str] = frozenset()) -> None:
        space = {key: {"low": 0.1, "high": 1}}
        found = searching(space, balancer, sampler=sampler, trials=20)
        check_beginning(StudySpec.from_dict(found), begun, Source())

    evolving = {"name": "pbt", "population": 4}
    with pytest.raises(SpecError, match=f"'{start}' acts at its start only") as caught:
        check(start, evolving)
    assert caught.value.where == f"arms.a.search.space.{start}"
    check(start, "random")
    check(other, evolving)
    check(start, evolving, frozenset("a"))  # under an earlier version it could begin


def test_generations_cannot_be_added_but_searches_can(evolving: Any) -> None:
    old = evolving().to_dict()
    assert difference(old, evolving(trials=40).to_dict()).refused == [
        "arms.a.search.trials: 20 -> 40"
    ]
    assert difference(old, evolving(replicates=6).to_dict()).refused == []


def test_an_equal_budget_is_one_of_trainings(evolving: Any) -> None:
    def unequal(trials: int) -> list[str]:
        spec = evolving().to_dict()
        search = {"space": {"training.lr": RATE}, "trials": trials}
        spec["arms"]["b"]["search"] = search
        found = StudySpec.from_dict(spec)
        return [line for line in warnings(found, arm_roles(found)) if "same space" in line]

    assert not unequal(4)
    assert unequal(20)
