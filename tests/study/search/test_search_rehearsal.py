"""What Optuna's samplers and pruners say they would do in a search of a given shape."""

from __future__ import annotations

from typing import Any

import pytest

from study.journal.events import TrialsTold
from study.search.rehearsal import Rehearsal, rehearse
from study.spec import PRUNERS, SAMPLERS, SpecError, StudySpec

BETA = {"beta": {"low": 1e-3, "high": 10, "log": True}}
NEEDED = {
    "percentile": {"percentile": 25.0},
    "patient": {"patience": 1},
    "threshold": {"upper": 0.5},
}
ADAPTIVE = [name for name, row in SAMPLERS.items() if row.adaptive]


def spec(reports: int = 10, space: Any = None, **search: Any) -> StudySpec:
    """A study of one arm that searches."""
    return StudySpec.from_dict(
        {
            "name": "toy",
            "data": "digits",
            "model": {"name": "mlp", "latent": 4, "width": 8},
            "training": {"epochs": 2, "reports": reports},
            "arms": {
                "hand": {
                    "balancer": "fixed_beta",
                    "search": {"space": BETA if space is None else space, **search},
                }
            },
        }
    )


def rehearsed(reports: int = 10, **search: Any) -> Rehearsal:
    (found,) = rehearse(spec(reports, **search))
    return found


class TestSamplers:
    @pytest.mark.parametrize(
        ("sampler", "trials"),
        [*(("tpe", n) for n in (2, 3, 5, 8, 12, 24, 100)), *(("gp", n) for n in (2, 3, 8, 12))],
    )
    def test_by_default_a_sampler_chooses_most_of_a_search_of_any_length(self, sampler, trials):
        found = rehearsed(sampler=sampler, trials=trials)
        assert found.chosen is not None
        assert found.chosen >= trials / 2

    @pytest.mark.parametrize("batch", [1, 2, 4, 8])
    def test_all_but_the_first_batch(self, batch):
        assert rehearsed(sampler="tpe", trials=16, batch=batch).at_random == batch

    def test_start_up_trials_are_counted_in_whole_batches(self):
        # 10 trials have ended once three batches of 4 have: Optuna is told of whole batches.
        assert rehearsed(sampler={"name": "tpe", "n_startup_trials": 10}, trials=24).at_random == 12

    def test_one_setting_at_a_time_too(self):
        assert rehearsed(sampler={"name": "tpe", "multivariate": False}, trials=12).at_random == 4

    def test_cmaes_draws_its_first_population_at_random(self):
        assert rehearsed(sampler="cmaes", trials=16).at_random == 4

    @pytest.mark.parametrize("sampler", [n for n in SAMPLERS if n not in ADAPTIVE])
    def test_others_have_nothing_to_rehearse(self, sampler):
        space = {"grid": {"beta": [0.1, 1.0]}, "seeds": {}}.get(sampler, BETA)
        assert rehearse(spec(space=space, sampler=sampler, trials=2)) == []

    @pytest.mark.parametrize(
        ("space", "search"),
        [
            ({"beta": {"low": 0.1, "high": 10, "log": True, "points": 6}}, {"sampler": "grid"}),
            ({}, {"sampler": "seeds", "trials": 12}),
        ],
    )
    def test_a_pruner_of_any_search_is_tried(self, space, search):
        (found,) = rehearse(spec(space=space, pruner="median", **search))
        assert found.saved is not None

    @pytest.mark.parametrize(
        ("search", "remedy"),
        [
            ({"sampler": "tpe", "trials": 4, "batch": 4}, "a smaller batch"),
            (
                {"sampler": {"name": "tpe", "n_startup_trials": 12}, "trials": 12},
                "a smaller n_startup_trials",
            ),
            (
                {"sampler": {"name": "tpe", "n_startup_trials": 9}, "trials": 8, "batch": 8},
                "a smaller batch and n_startup_trials",
            ),
            ({"sampler": "cmaes", "trials": 4}, "8 trials"),
            ({"sampler": "tpe", "trials": 1}, "2 trials"),
        ],
    )
    def test_one_that_would_never_choose_is_refused_with_what_helps(self, search, remedy):
        with pytest.raises(SpecError, match="choose none of its") as caught:
            rehearse(spec(**search))
        assert caught.value.where == "arms.hand.search"
        assert caught.value.remedy == f"give {remedy}, or sampler: random"

    def test_an_arm_that_has_begun_is_warned_of(self):
        (found,) = rehearse(spec(sampler="tpe", trials=4, batch=4), begun={"hand"})
        assert "would choose none of its 4 trials" in found.warning

    def test_without_a_start_up_the_first_batch_has_no_results_either(self):
        sampler = {"name": "tpe", "n_startup_trials": 0}
        assert rehearsed(sampler=sampler, trials=12).at_random == 4

    def test_settings_that_are_enqueued_are_not_chosen(self):
        found = rehearsed(sampler="tpe", trials=12, enqueue=[{"beta": 0.1}])
        assert (found.enqueued, found.at_random, found.chosen) == (1, 3, 8)

    @pytest.mark.parametrize(
        ("search", "remedy"),
        [
            ({"trials": 3, "enqueue": [{"beta": 0.1}, {"beta": 1}, {"beta": 10}]}, "4 trials"),
            (
                {"sampler": {"name": "tpe", "n_startup_trials": 10}, "trials": 6, "batch": 6,
                 "enqueue": [{"beta": 1}]},
                "a smaller batch and n_startup_trials",
            ),
        ],
    )  # fmt: skip
    def test_a_remedy_helps_beside_what_is_enqueued(self, search, remedy):
        with pytest.raises(SpecError) as caught:
            rehearse(spec(**{"sampler": "tpe", **search}))
        assert caught.value.remedy == f"give {remedy}, or sampler: random"

    @pytest.mark.parametrize(
        ("part", "given"),
        [
            ("sampler", {"name": "cmaes", "with_margin": True, "use_separable_cma": True}),
            ("pruner", {"name": "threshold", "lower": 2.0, "upper": 1.0}),
            ("pruner", {"name": "successive_halving", "bootstrap_count": 3}),
        ],
    )
    def test_options_that_optuna_excludes_are_refused(self, part, given):
        with pytest.raises(SpecError, match="Optuna does not take") as caught:
            rehearse(spec(trials=12, **{part: given}))
        assert caught.value.where == f"arms.hand.search.{part}"


TOLD = TrialsTold(
    "hand", "study 'x'", [{"params": {"beta": 0.1 * i}, "value": float(i)} for i in range(1, 9)],
    0, images=1, billed=1.0, standard=1.0,
)  # fmt: skip


@pytest.mark.parametrize("pruner", [None, *PRUNERS])
def test_told_trials_let_the_sampler_choose_from_the_first_trial_on(pruner):
    given = {"name": pruner, **NEEDED.get(pruner, {})} if pruner else None
    search = {"sampler": "tpe", "trials": 8, "batch": 1, "pruner": given}
    (found,) = rehearse(spec(**search, warm_start={"study": "x"}), [TOLD])
    assert found.chosen == 8


class TestPruners:
    @pytest.mark.parametrize(
        ("search", "remedy"),
        [
            ({"trials": 8, "pruner": "successive_halving"}, "min_resource: 1"),
            (
                {"trials": 8, "pruner": {"name": "median", "synchronous": True}},
                "batch: 4 and n_startup_trials: 0",
            ),
            (
                {"trials": 8, "pruner": {"name": "successive_halving", "synchronous": True}},
                "min_resource: 1",
            ),
            ({"trials": 24, "batch": 4, "pruner": {"name": "median", "n_warmup_steps": 20}},
             "n_warmup_steps: 5"),
            ({"trials": 24, "batch": 4, "pruner": {"name": "median", "n_startup_trials": 40}},
             "n_startup_trials: 20"),
            ({"trials": 24, "batch": 4,
              "pruner": {"name": "successive_halving", "min_resource": 50}}, "min_resource: 6"),
            ({"trials": 24, "pruner": "median"}, "batch: 4"),
        ],
    )  # fmt: skip
    def test_one_that_can_never_prune_is_found_and_what_lets_it_prune(self, search, remedy):
        found = rehearsed(sampler="random", **search)
        assert found.idle
        assert found.warning.endswith(f"With {remedy} it can.")

    def test_the_remedy_is_what_optuna_does(self):
        changed = {"name": "successive_halving", "min_resource": 1}
        found = rehearsed(sampler="random", trials=8, pruner=changed)
        assert not found.idle
        assert 0 < found.saved < 1

    def test_one_report_is_never_pruned(self):
        found = rehearsed(reports=1, sampler="random", batch=4, trials=24, pruner="median")
        assert found.warning.endswith("With training.reports: 10 it can.")

    @pytest.mark.parametrize("end", [{"upper": 5.0}, {"lower": -5.0}])
    def test_a_threshold_can_prune_whatever_its_scale(self, end):
        found = rehearsed(sampler="random", trials=8, pruner={"name": "threshold", **end})
        assert not found.idle


def test_it_depends_on_the_spec_alone():
    pruner = {"name": "median", "n_startup_trials": 1}
    first, again = (rehearsed(sampler="tpe", trials=12, pruner=pruner) for _ in range(2))
    assert first == again
    assert first.saved > 0
