"""A spec against the images it trains on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from own_models import MODELS

from study.spec import SpecError, StudySpec, check_images, training_steps
from vae_core.data import PreparedData
from vae_core.data.store import write

DIGITS = PreparedData("digits", (1, 8, 8), {}, {}, {"train": 1500, "test": 297}, "")
MNIST = PreparedData("mnist", (1, 28, 28), {}, {}, {"train": 60_000, "test": 10_000}, "")


@pytest.fixture
def misfit(base):
    """Checks a study against digits, and returns the error."""

    def check(**changes):
        with pytest.raises(SpecError) as caught:
            check_images(StudySpec.from_dict(base(**changes)), DIGITS)
        return caught.value

    return check


def test_what_fits_passes(base, searching):
    assert (
        check_images(StudySpec.from_dict(base()), DIGITS).said == []
    )  # nothing is said of built-in ones
    conv = base(model={"name": "conv", "latent": 4, "width": 4})
    check_images(StudySpec.from_dict(conv), MNIST)
    space = {"beta": [0.1, 1.0], "model.latent": {"low": 2, "high": 9}}
    check_images(StudySpec.from_dict(searching(space)), DIGITS)


@pytest.mark.parametrize(
    ("epochs", "batch_size", "images", "steps"),
    [(2, 128, 1280, 20), (1.5, 128, 1300, 15), (0.01, 128, 1280, 1), (1, 100, 100, 1)],
)
def test_steps(epochs, batch_size, images, steps):
    assert training_steps(epochs, batch_size, images) == steps


def test_more_validation_than_images(misfit):
    error = misfit(data={"name": "digits", "validation": 1500})
    assert error.where == "data.validation"
    assert error.what == "validation 1500 takes 1,500 of the 1,500 training images"


OWN_VALIDATION = replace(DIGITS, counts={"train": 1500, "validation": 200, "test": 297})


def test_validation_images_that_the_data_bring_leave_all_of_train(base):
    training = {"epochs": 1, "batch_size": 1500, "reports": 1}
    check_images(StudySpec.from_dict(base(training=training)), OWN_VALIDATION)
    with pytest.raises(SpecError, match="of 1,350 training images"):
        check_images(StudySpec.from_dict(base(training=training)), DIGITS)


@pytest.mark.parametrize("validation", [200, 0.2])
def test_validation_beside_images_that_the_data_bring(base, validation):
    spec = StudySpec.from_dict(base(data={"name": "digits", "validation": validation}))
    with pytest.raises(SpecError) as caught:
        check_images(spec, OWN_VALIDATION)
    assert caught.value.where == "data.validation"
    assert caught.value.what == (
        f"{validation}, and the data bring 200 validation images of their own"
    )
    assert "leave validation out" in caught.value.remedy


def test_a_single_validation_image_that_the_data_bring(base):
    data = replace(DIGITS, counts={"train": 1500, "validation": 1, "test": 297})
    with pytest.raises(SpecError, match="would choose every winner"):
        check_images(StudySpec.from_dict(base()), data)


@pytest.mark.parametrize(
    ("labels", "what"),
    [
        (np.zeros(100, np.int64), "100 training images of 1 class teach a classifier nothing"),
        (np.arange(100) // 5, "100 training images of 20 classes teach a classifier nothing"),
        (np.arange(100) // 25, None),
    ],
)
def test_a_classifier_needs_labels(base, tmp_path, labels, what):
    images = np.random.default_rng(0).integers(0, 256, (100, 1, 8, 8), np.uint8)
    about = {"name": "mine", "split": "train", "source": "", "request": ""}
    header = write(tmp_path / "train.arrow", [(images, labels)], **about)
    data = PreparedData(
        "mine",
        (1, 8, 8),
        files={"train": str(tmp_path / "train.arrow")},
        sha256={"train": header.sha256},
        counts={"train": 100, "test": 10},
        source="",
    )
    small = base(training={"epochs": 2, "batch_size": 10, "reports": 1})
    check_images(StudySpec.from_dict(small), data)
    spec = StudySpec.from_dict({**small, "evaluation": {"features": ["classifier"]}})
    if what is None:
        check_images(spec, data)
        return
    with pytest.raises(SpecError) as caught:
        check_images(spec, data)
    assert (caught.value.where, caught.value.what) == ("evaluation.features", what)
    assert "data.label" in caught.value.remedy


def test_a_batch_larger_than_the_training_images(misfit):
    training = {"epochs": 2, "batch_size": 1281}
    error = misfit(data={"name": "digits", "validation": 220}, training=training)
    assert (error.where, error.remedy) == ("training.batch_size", "give 1,280 or less")
    assert error.what == "a batch of 1,281 images, of 1,280 training images"


def test_a_searched_batch_larger_than_the_training_images(searching):
    spec = searching({"beta": [0.1, 1.0], "training.batch_size": [64, 4096]})
    with pytest.raises(SpecError) as caught:
        check_images(StudySpec.from_dict(spec), DIGITS)
    assert caught.value.where == "arms.a.search.space.training.batch_size"


def test_more_reports_than_steps(misfit):
    training = {"epochs": 0.5, "batch_size": 135, "reports": 6}
    error = misfit(training=training)
    assert error.where == "training.reports"
    assert error.what == "6 reports in the 5 steps of a trial (0.5 epochs of 10 batches of 135)"
    assert error.remedy == "give 5 or less, or more training.epochs"


@pytest.mark.parametrize(
    ("balancer", "space", "what"),
    [
        ({"name": "learned_sigma", "log_sigma_init": -8}, {}, "log_sigma_init = -8 of"),
        ({"name": "learned_sigma", "sigma_min": 2}, {}, "is not above 0.6931, the ln of sigma_min"),
        ("learned_sigma", {"log_sigma_init": {"low": -7, "high": 0}}, "log_sigma_init = -7 of"),
        ("learned_sigma", {"sigma_min": [0.01, 1.5]}, "sigma_min = 1.5: sigma would never be"),
        ({"name": "gates_frozen", "beta": 1e-4}, {}, "beta = 0.0001 of balancer 'gates_frozen'"),
        ("gates_frozen", {"beta": {"low": 0.01, "high": 8}}, "to beta_high = 5"),
        (
            "multi_rate",
            {"beta_low": [0.1, 6]},
            "beta_low = 6 of balancer 'multi_rate' is not below",
        ),
        # 32 times as much in S/2 + beta R, on 64 pixels
        ({"name": "gates_frozen", "beta": 0.5, "reduction": "mean"}, {}, "beta = 16 of balancer"),
    ],
)
def test_hyperparameters_that_do_not_go_together(base, misfit, balancer, space, what):
    """Whether they are given or searched."""
    arm = {"balancer": balancer}
    arm |= {"search": {"space": space, "trials": 4}} if space else {}
    error = misfit(arms={"a": arm})
    assert error.where == "arms.a"
    assert what in error.what
    if "multi_rate" not in what:  # an arm that has begun goes on
        check_images(StudySpec.from_dict(base(arms={"a": arm})), DIGITS, begun={"a"})


def test_a_model_that_does_not_take_the_images(misfit):
    error = misfit(model={"name": "conv", "latent": 4})
    assert error.where == "model"
    assert "does not take images of 1x8x8" in error.what


def test_a_searched_value_the_model_does_not_take(searching):
    spec = searching({"beta": [0.1, 1.0], "model.width": [8, 0]})
    spec["model"] = {"name": "mlp", "latent": 4}
    with pytest.raises(SpecError) as caught:
        check_images(StudySpec.from_dict(spec), DIGITS)
    assert caught.value.where == "arms.a.search.space.model.width"
    assert caught.value.what == "width is 0"


OWN = (
    MODELS
    + """
class Odd(Plain):
    def encode(self, x):
        mu, logvar = super().encode(x)
        return (mu, logvar) if self.latent < 9 else (mu[:, :3], logvar)

class Loaded(Plain):
    def __init__(self, shape, latent):
        super().__init__(shape, latent)
        nn.init.eye_(self.inner.weight)
        nn.init.kaiming_normal_(self.outer.weight)

class Logits(Plain):
    def decode(self, z):
        return self.outer(z).view(-1, *self.shape.chw)

class Viewing(Plain):
    channels_last = True
    def __init__(self, shape, latent):
        super().__init__(shape, latent)
        self.filters = nn.Conv2d(1, 2, 3, padding=1)
        self.inner = nn.Linear(2 * shape.dims, 2 * latent)
    def encode(self, x):
        mu, logvar = self.inner(self.filters(x).view(len(x), -1)).chunk(2, dim=1)
        return mu, logvar

class Cells(Plain):
    def __init__(self, shape, latent, kind):
        super().__init__(shape, latent)
        self.layer = {"gru": nn.GRUCell, "lstm": nn.LSTMCell}[kind](latent, 2 * latent)
    def decode(self, z):
        found = self.layer(z)
        state = found[0] if isinstance(found, tuple) else found
        return super().decode(z + state[:, : self.latent] + state[:, self.latent :])
"""
)


@pytest.fixture
def _own_models(tmp_path, monkeypatch):
    (tmp_path / "spec_image_models.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("_own_models")
class TestOwnModels:
    def test_one_that_keeps_the_contract(self, base):
        spec = base(model={"name": "spec_image_models:Plain", "latent": 4})
        assert check_images(StudySpec.from_dict(spec), DIGITS).said == [
            "model spec_image_models:Plain: parameters start: 4 as their layers do"
        ]

    def test_one_that_is_gated_in_one_arm(self, base):
        arms = {
            "plain": {"balancer": {"name": "learned_sigma"}},
            "gated": {"balancer": {"name": "multi_rate"}},
        }
        spec = base(model={"name": "spec_image_models:Plain", "latent": 4}, arms=arms)
        said = check_images(StudySpec.from_dict(spec), DIGITS).said
        assert [line.partition(" parameters")[0] for line in said] == [
            "model spec_image_models:Plain:",
            "model spec_image_models:Plain with gates:",
        ]

    @pytest.mark.parametrize("name", ["bernoulli", "continuous_bernoulli"])
    def test_one_whose_means_are_no_probabilities(self, base, misfit, name):
        """Other likelihoods take it, in the arm before as well."""
        model = {"name": "spec_image_models:Logits", "latent": 4}
        gaussian = {"balancer": "learned_sigma"}
        check_images(StudySpec.from_dict(base(model=model, arms={"a": gaussian})), DIGITS)
        arms = {"a": gaussian, "b": {"balancer": name}}
        error = misfit(model=model, arms=arms)
        assert error.where == "model"
        assert error.what.startswith("Logits decodes means from -")
        assert f"the likelihood {name} takes them for probabilities" in error.what
        assert "end the decoder in a sigmoid" in error.remedy
        check_images(StudySpec.from_dict(base(model=model, arms=arms)), DIGITS, begun={"a", "b"})
        model = {"name": "spec_image_models:Plain", "latent": 4}
        check_images(StudySpec.from_dict(base(model=model, arms=arms)), DIGITS)

    def test_one_that_starts_otherwise_than_its_layers(self, searching):
        """It is said once, wherever the model is searched."""
        spec = searching({"beta": [0.1, 1.0], "model.latent": [2, 5]})
        spec["model"] = {"name": "spec_image_models:Loaded", "latent": 4}
        assert check_images(StudySpec.from_dict(spec), DIGITS).said == [
            "model spec_image_models:Loaded: parameters start: 2 as their layers do; "
            "1 as __init__ sets them, equal for all seeds (inner.weight); "
            "1 as __init__ draws them, under the trial's seed (outer.weight)"
        ]

    def test_one_that_a_bank_of_one_cannot_train(self, misfit):
        error = misfit(model={"name": "spec_image_models:Viewing", "latent": 4})
        assert error.where == "model"
        assert error.what.startswith("Viewing cannot train in a bank of one row")

    def test_one_that_shares_a_bank_and_one_that_cannot(self, base, misfit):
        def reason(name, **changes):
            model = {"name": f"own_layers:{name}", "latent": 4}
            return check_images(StudySpec.from_dict(base(model=model, **changes)), DIGITS).one_row

        assert reason("Dropping", engines={"slots": 4}) is None
        why = "torch.func.vmap cannot run 'layer' (LSTM): Batching rule not implemented"
        assert reason("Recurrent").startswith(why)
        assert reason("Recurrent", engines={"slots": 1}).startswith(why)
        model = {"name": "own_layers:Recurrent", "latent": 4}
        error = misfit(model=model, engines={"slots": 4})
        assert (error.where, error.remedy) == ("engines.slots", "give auto or 1")
        said = "4 slots, but an engine trains one trial of this model at a time"
        assert error.what.startswith(f"{said}: {why}")

    def test_one_searched_layer_that_cannot_share_a_bank_is_enough(self, searching):
        spec = searching({"beta": [0.1, 1.0], "model.kind": ["gru", "lstm"]})
        spec["model"] = {"name": "spec_image_models:Cells", "latent": 4, "kind": "gru"}
        found = check_images(StudySpec.from_dict(spec), DIGITS).one_row
        assert "'layer' (LSTMCell)" in found

    def test_one_that_does_not(self, misfit):
        error = misfit(model={"name": "spec_image_models:Dropping", "latent": 4})
        assert error.where == "model"
        assert error.what.startswith("Dropping draws random numbers of its own, in the model")
        assert "nn.Dropout" in error.remedy

    def test_one_that_does_not_where_it_is_searched(self, searching):
        spec = searching({"beta": [0.1, 1.0], "model.latent": {"low": 2, "high": 9}})
        spec["model"] = {"name": "spec_image_models:Odd", "latent": 4}
        with pytest.raises(SpecError) as caught:
            check_images(StudySpec.from_dict(spec), DIGITS)
        assert caught.value.where == "arms.a.search.space.model.latent"
        assert "encode's mu" in caught.value.what
