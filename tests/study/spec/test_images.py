"""A spec against the images it trains on."""

from __future__ import annotations

import pytest
from own_models import MODELS

from study.spec import SpecError, StudySpec, check_images, training_steps
from vae_core.data import PreparedData

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
    check_images(StudySpec.from_dict(base()), DIGITS)
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
        check_images(StudySpec.from_dict(spec), DIGITS)

    def test_one_that_shares_a_bank_and_one_that_cannot(self, base, misfit):
        def reason(name, **changes):
            model = {"name": f"own_layers:{name}", "latent": 4}
            return check_images(StudySpec.from_dict(base(model=model, **changes)), DIGITS)

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
        found = check_images(StudySpec.from_dict(spec), DIGITS)
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
