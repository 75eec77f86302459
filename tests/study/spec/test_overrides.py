"""`--set key.path=value`: what it changes, and what it says when it cannot."""

import pytest
import yaml

from study.spec import FloatRange, load_spec


@pytest.fixture
def file(base, tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(base(), sort_keys=False))
    return path


class TestWhatItChanges:
    def test_keys_there_and_keys_at_their_default(self, file):
        changes = ["training.epochs=3", "training.lr=1e-2", "arms.random.search.trials=5"]
        spec = load_spec(file, [*changes, "seeds=[7, 8]", "question=a=b", "engines.slots=4"])
        assert spec.training.epochs == 3
        assert spec.training.lr == 1e-2
        assert spec.arms["random"].search.trials == 5
        assert spec.seeds == [7, 8]
        assert spec.question == "a=b"
        assert spec.engines.slots == 4

    def test_settings_beside_a_bare_name(self, file):
        spec = load_spec(
            file,
            [
                "arms.learned.balancer.k=2",
                "arms.random.search.sampler.name=tpe",
                "data.validation=50",
            ],
        )
        assert spec.arms["learned"].balancer.extras == {"k": 2.0}
        assert spec.arms["random"].search.sampler.name == "tpe"
        assert spec.data.validation == 50

    def test_keys_with_dots_in_a_space(self, file):
        space = "arms.random.search.space"
        added = f"{space}.training.lr={{low: 1e-4, high: 1e-2, log: true}}"
        spec = load_spec(file, [added, f"{space}.training.lr.high=1e-1", f"{space}.beta.low=0.01"])
        found = spec.arms["random"].search.space
        assert found["training.lr"] == FloatRange(1e-4, 0.1, log=True)
        assert found["beta"].low == 0.01

    def test_a_whole_arm(self, file):
        spec = load_spec(file, ["arms.mine={balancer: optimal_sigma}", "arms.mine.balancer.k=3"])
        assert spec.arms["mine"].balancer.extras == {"k": 3.0}

    def test_a_new_arm_whose_balancer_is_named(self, file):
        spec = load_spec(file, ["arms.new.balancer=optimal_sigma"])
        assert list(spec.arms) == ["random", "learned", "new"]
        assert spec.arms["new"].balancer.name == "optimal_sigma"

    @pytest.mark.parametrize("backwards", [False, True])
    def test_a_new_arm_that_searches(self, file, backwards):
        made = [
            "arms.new.balancer.name=fixed_beta",
            "arms.new.balancer.reduction=sum",
            "arms.new.search.space.beta={low: 1e-3, high: 10, log: true}",
            "arms.new.search.sampler=tpe",
            "arms.new.search.trials=6",
        ]
        spec = load_spec(file, made[::-1] if backwards else made)
        arm = spec.arms["new"]
        assert arm.balancer.name == "fixed_beta"
        assert arm.balancer.reduction == "sum"
        assert (arm.search.sampler.name, arm.search.trials) == ("tpe", 6)
        assert list(arm.search.space) == ["beta"]

    def test_a_range_of_seeds(self, file):
        assert load_spec(file, ["seeds={from: 7, count: 3}"]).seeds == [7, 8, 9]

    def test_the_last_wins(self, file):
        assert load_spec(file, ["training.epochs=3", "training.epochs=4"]).training.epochs == 4


class TestWhatItSays:
    @pytest.mark.parametrize(
        ("override", "key", "what", "remedy"),
        [
            ("training.epochs=soon", "training.epochs", "'soon'", "above 0"),
            ("training.epoch=3", "training.epoch", "unknown key 'epoch'", "'epochs'"),
            ("arms.random.search.trials=0", "arms.random.search.trials", "0 trials", "1 trial"),
            (
                "arms.random.search.space.beta.low=99",
                "arms.random.search.space.beta",
                "empty",
                "low",
            ),
            (
                "arms.random.search.space.bata=[1]",
                "arms.random.search.space.bata",
                "'bata'",
                "'beta'",
            ),
            ("model.name=mpl", "model.name", "unknown model", "'mlp'"),
            ("arms.random.serch.trials=3", "arms.random.serch", "unknown key", "'search'"),
            ("data={name: digit}", "data.name", "unknown dataset", "'digits'"),
        ],
    )
    def test_a_wrong_value_names_the_override_as_its_place(
        self, base, refused, override, key, what, remedy
    ):
        error = refused(base(), override)
        assert what in error.what
        assert remedy in error.remedy
        assert error.where == f"--set {override}: {key}"

    @pytest.mark.parametrize(
        ("override", "what", "remedy"),
        [
            ("training.epochs", "not an override", "key.path=value"),
            ("=3", "not an override", "key.path=value"),
            ("training..epochs=3", "not an override", "key.path=value"),
            ("trainin.epochs=3", "unknown key 'trainin'", "did you mean 'training'?"),
            ("arms.randm.search.trials=3", "unknown key 'arms.randm'", "did you mean 'random'?"),
            ("arms.randm.balancer.k=3", "unknown key 'arms.randm'", "arms.randm.balancer.name="),
            ("evaluatin.images=5", "unknown key 'evaluatin'", "did you mean 'evaluation'?"),
            ("x-lr=3", "'x-lr' is no part of the study", "set the keys that use them"),
            ("name.first=x", "'name' holds 'small'", "name=..."),
            ("seeds=[1, 2", "not valid YAML", "brackets"),
        ],
    )
    def test_an_override_that_leads_nowhere(self, base, refused, override, what, remedy):
        error = refused(base(), override)
        assert error.where == f"--set {override}"
        assert what in error.what
        assert remedy in error.remedy
