"""What a launch warns about, and what it has no reason to."""

import pytest
from scipy.stats import binom

from study.spec import StudySpec, arm_roles, warnings

BETA = {"low": 1e-3, "high": 10, "log": True}
LR = {"low": 1e-4, "high": 1e-2, "log": True}


def hand(space=None, **search):
    search = {"space": space or {"beta": BETA}, "trials": 24, **search}
    return {"balancer": "fixed_beta", "search": search}


def automatic(space=None, trials=24):
    search = {"search": {"space": space, "trials": trials}} if space else {}
    return {"balancer": "learned_sigma", **search}


@pytest.fixture
def warned(base):
    def warn(**changes):
        arms = {"a": hand(), "b": automatic()}
        spec = StudySpec.from_dict(base(**{"arms": arms, **changes}))
        return warnings(spec, arm_roles(spec))

    return warn


def test_a_fair_study_gets_none(warned):
    assert warned() == []
    assert (
        warned(
            arms={"a": hand({"beta": BETA, "training.lr": LR}), "b": automatic({"training.lr": LR})}
        )
        == []
    )


class TestNuisance:
    def test_a_setting_that_only_the_hand_tuned_arm_searches(self, warned):
        space = {"beta": BETA, "training.lr": LR, "model.latent": [4, 8]}
        (warning,) = warned(arms={"tuned": hand(space), "auto": automatic(), "fixed": automatic()})
        assert warning.startswith(
            "arm 'tuned' searches model.latent, training.lr, and the automatic arms auto, fixed"
        )
        assert "the verdict is limited to arms that search beta only" in warning

    @pytest.mark.parametrize(
        "auto",
        [
            automatic({"training.lr": {**LR, "high": 1}}),
            automatic({"training.lr": LR}, trials=4),
            automatic({"training.lr": LR, "model.latent": [4, 8]}),
        ],
    )
    def test_another_space_or_budget_is_not_the_same(self, warned, auto):
        warnings = warned(arms={"tuned": hand({"beta": BETA, "training.lr": LR}), "auto": auto})
        assert len(warnings) == 2
        assert "arm 'tuned' searches training.lr, and the automatic arms auto do not" in warnings[0]
        assert "and the hand-tuned arms tuned do not" in warnings[1]

    def test_a_setting_that_only_the_automatic_arm_searches(self, warned):
        (warning,) = warned(arms={"tuned": hand(), "auto": automatic({"training.lr": LR})})
        assert "arm 'auto' searches training.lr, and the hand-tuned arms tuned do not" in warning

    def test_without_another_arm_there_is_nothing_to_compare(self, warned):
        assert warned(arms={"tuned": hand({"beta": BETA, "training.lr": LR})}) == []


class TestStrength:
    def test_seeds(self, warned):
        assert warned(seeds=[0])[0].startswith("1 seed can decide nothing")
        (warning,) = warned(seeds={"count": 5})
        assert warning.startswith("5 seeds can decide nothing")
        assert "Give 6 or more; 12 are the default." in warning

    @pytest.mark.parametrize(("count", "fewer"), [(7, 6), (8, 6), (10, 9), (11, 9)])
    def test_seeds_that_make_the_sign_test_weaker(self, warned, count, fewer):
        """It rejects where few enough disagree: how few, is the binomial's to say."""

        def disagreeing(n):
            return sum(1 for k in range(n) if binom.cdf(k, n, 0.5) <= 0.025)

        assert disagreeing(count) == disagreeing(fewer)
        (warning,) = warned(seeds={"count": count})
        assert f"{count} seeds decide less often than {fewer}" in warning
        assert warned(seeds={"count": fewer}) == []
        assert warned(seeds={"until": "decided", "at_most": count}) == []

    @pytest.mark.parametrize("sampler", ["tpe", "gp"])
    def test_one_replicate_of_an_adaptive_sampler(self, warned, sampler):
        (warning,) = warned(arms={"a": hand(sampler=sampler)})
        assert f"arm 'a' runs its adaptive sampler '{sampler}' once" in warning
        assert warned(arms={"a": hand(sampler=sampler, replicates=3)}) == []
        assert warned(arms={"a": hand(sampler="qmc")}) == []

    def test_few_random_trials_bound_no_break_even(self, warned):
        (warning,) = warned(arms={"a": hand(trials=12), "b": automatic()})
        assert warning == (
            "arm 'a' makes 12 random trials, which can bound a break-even at trial 1 only: give 12 "
            "times the number to be bounded, such as 36 for 3."
        )
        assert warned(arms={"a": hand(trials=12, replicates=2), "b": automatic()}) == []
        adaptive = hand(trials=12, replicates=6, sampler="tpe")
        assert warned(arms={"a": adaptive, "b": automatic()}) == [], "other bounds hold for it"

    def test_a_narrow_range_of_beta(self, warned):
        (warning,) = warned(arms={"a": hand({"beta": {**BETA, "low": 1}})})
        assert "over 1.0 decades only" in warning
        (warning,) = warned(arms={"a": hand({"beta": [0.5, 1, 2]})})
        assert "over 0.6 decades only" in warning
        assert warned(arms={"a": hand({"beta": {**BETA, "low": 0.1}})}) == []

    def test_a_uniform_range_of_beta(self, warned):
        (warning,) = warned(arms={"a": hand({"beta": {"low": 0.001, "high": 10}})})
        assert "give log: true" in warning


def test_settings_that_are_given_first_are_prior_knowledge(warned):
    (warning,) = warned(arms={"tuned": hand(enqueue=[{"beta": 1}]), "auto": automatic()})
    assert warning.startswith("arm 'tuned' tries 1 given settings first")
