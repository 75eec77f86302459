"""The second stage: its size, its training, its samples."""

import math

import pytest
import torch

from vae_core.errors import UserError
from vae_core.generation import (
    Posteriors,
    SecondStage,
    SecondStageSettings,
    second_stage,
    train_second_stage,
)

TINY = SecondStageSettings(width=8, depth=1, epochs=2, batch_size=10)


def standard(n, size, seed=0, tau2=0.1):
    """Posteriors whose aggregate has unit variance."""
    generator = torch.Generator().manual_seed(seed)
    mu = math.sqrt(1 - tau2) * torch.randn(n, size, generator=generator)
    return Posteriors(mu, torch.full_like(mu, math.log(tau2)))


@pytest.mark.parametrize(("width", "published"), [(2048, 17.5), (4096, 68.5)])
def test_parameters_as_published_for_cifar_and_celeba(width, published):
    with torch.device("meta"):
        stage = SecondStage(64, SecondStageSettings(width=width, depth=3))
    layers = [64 * width + width, 2 * (width * width + width)]
    last = (64 + width) * 64 + 64
    count = sum(parameter.numel() for parameter in stage.parameters())
    assert count == 2 * sum(layers) + 3 * last
    assert round(count / 1e6, 1) == published


def triangle(n, seed):
    """Three Gaussians on a triangle: mean 0, covariance 2.25 I, far from Gaussian."""
    generator = torch.Generator().manual_seed(seed)
    angle = 2 * math.pi / 3 * torch.arange(3)
    corners = 1.5 * math.sqrt(2 * 0.9) * torch.stack([angle.cos(), angle.sin()], 1)
    corner = torch.randint(0, 3, (n,), generator=generator)
    return corners[corner] + 1.5 * math.sqrt(0.1) * torch.randn(n, 2, generator=generator)


def energy_distance(a, b):
    def apart(p, q):
        return torch.cdist(p, q).mean().item()

    return 2 * apart(a, b) - apart(a, a) - apart(b, b)


@pytest.mark.parametrize("recipe", ["asperti2020", "dai2019"])
def test_samples_follow_an_aggregate_that_is_not_gaussian(recipe):
    tau2 = 0.02
    mu = triangle(4000, seed=0) / math.sqrt(1 + tau2 / 2.25)
    found = Posteriors(mu, torch.full_like(mu, math.log(tau2)))
    settings = SecondStageSettings(
        width=64, epochs=60, batch_size=100, lr=2e-3, halve_every=20, recipe=recipe
    )
    z = train_second_stage(found, settings, seed=0).sample(3000, seed=1)
    # The mean of 3,000 draws has a standard error of 0.03. A VAE's samples are too narrow by what
    # its posteriors q(u|z) leave open: 15 % of the variance after this short training.
    torch.testing.assert_close(z.mean(0), torch.zeros(2), rtol=0, atol=0.15)
    torch.testing.assert_close(z.T.cov(), 2.25 * torch.eye(2), rtol=0, atol=0.25 * 2.25)
    real = triangle(3000, seed=1)
    gaussian = 1.5 * torch.randn(3000, 2, generator=torch.Generator().manual_seed(2))
    # Even a normal distribution of the right mean and covariance is 5 times further away.
    assert energy_distance(z, real) < 0.2 * energy_distance(gaussian, real)


class Watched(SecondStage):
    """Records what each step was given and made."""

    def __init__(self, *args):
        super().__init__(*args)
        self.steps = []

    def forward(self, z, noise):
        zhat, mu, logvar = super().forward(z, noise)
        self.steps.append((z.clone(), (zhat - z).square().mean().item()))
        return zhat, mu, logvar


@pytest.fixture
def watched(monkeypatch):
    monkeypatch.setattr(second_stage, "SecondStage", Watched)


def test_the_computed_gamma_is_the_released_rule(watched):
    settings = SecondStageSettings(width=16, depth=1, epochs=20, batch_size=20, lr=1e-2)
    stage = train_second_stage(standard(200, 3), settings, seed=0)
    m = 1.0
    for _, mse in stage.steps[:200]:
        m = min(m, 0.99 * m + 0.01 * mse)
    assert stage.gamma.item() == pytest.approx(math.sqrt(m), rel=1e-5)
    assert m < 0.9


@pytest.mark.parametrize(("scale", "sign"), [(2.0, 1), (0.1, -1)])
def test_the_learned_gamma_starts_at_one_and_moves_by_the_learning_rate(scale, sign):
    # Adam's first step is the learning rate, towards the error: MSE > 1, or < 1.
    mu = scale * standard(50, 3).mu
    found = Posteriors(mu, torch.full_like(mu, -10.0))
    settings = SecondStageSettings(
        width=8, depth=1, epochs=1, batch_size=50, lr=0.01, recipe="dai2019"
    )
    stage = train_second_stage(found, settings, seed=0)
    assert stage.gamma.log().item() == pytest.approx(sign * 0.01, rel=1e-4)
    assert stage.gain == 1


def test_an_epoch_visits_whole_batches_of_latents_drawn_anew(watched, monkeypatch):
    rates = []
    step = torch.optim.Adam.step
    monkeypatch.setattr(
        torch.optim.Adam,
        "step",
        lambda adam: (rates.append(adam.param_groups[0]["lr"]), step(adam)),
    )
    known = torch.arange(25.0).repeat(2, 1).T
    exact = Posteriors(known, torch.full_like(known, -torch.inf))
    settings = SecondStageSettings(
        width=4, depth=1, epochs=5, batch_size=10, lr=0.1, halve_every=2, recipe="dai2019"
    )
    seen = [z for z, _ in train_second_stage(exact, settings, seed=0).steps]
    assert len(seen) == 5 * 2
    epochs = [torch.cat(seen[i : i + 2])[:, 0].tolist() for i in range(0, 10, 2)]
    assert all(len({*epoch}) == 20 and {*epoch} < {*range(25)} for epoch in epochs)
    assert epochs[0] != epochs[1]
    assert rates == [0.1] * 4 + [0.05] * 4 + [0.025] * 2

    blurred = Posteriors(torch.zeros(20, 2), torch.zeros(20, 2))
    settings = SecondStageSettings(width=4, depth=1, epochs=20, batch_size=20, recipe="dai2019")
    drawn = torch.cat([z for z, _ in train_second_stage(blurred, settings, seed=0).steps])
    assert drawn.unique().numel() == drawn.numel()
    assert drawn.var().item() == pytest.approx(1.0, abs=0.2)  # 800 draws: standard error 0.05


@pytest.mark.parametrize("recipe", ["asperti2020", "dai2019"])
def test_training_and_samples_depend_on_their_seeds_only(recipe):
    settings = SecondStageSettings(width=8, depth=1, epochs=2, batch_size=10, recipe=recipe)
    found = standard(40, 3)
    torch.manual_seed(0)
    stage = train_second_stage(found, settings, seed=1)
    torch.manual_seed(1)
    again = train_second_stage(found, settings, seed=1)
    other = train_second_stage(found, settings, seed=2)
    many = stage.sample(600, seed=3)
    assert many.shape == (600, 3)
    assert not many.requires_grad
    assert torch.equal(again.sample(600, seed=3), many)
    assert torch.equal(stage.sample(300, seed=3), many[:300])
    assert not torch.equal(many[:256], many[256:512])
    assert not torch.equal(stage.sample(300, seed=4), many[:300])
    assert not torch.equal(other.sample(300, seed=3), many[:300])


def test_the_state_dict_is_all_that_sampling_needs(tmp_path):
    settings = SecondStageSettings(width=8, depth=2, latent=2, epochs=2, batch_size=10)
    stage = train_second_stage(standard(40, 3), settings, seed=0)
    torch.save(stage.state_dict(), tmp_path / "stage.pt")
    loaded = SecondStage(3, settings)
    loaded.load_state_dict(torch.load(tmp_path / "stage.pt", weights_only=True))
    assert loaded.latent == 2
    assert torch.equal(loaded.sample(10, seed=0), stage.sample(10, seed=0))


def linear(size, factor, sd, recipe="asperti2020"):
    """A second stage with u = z + sd eps and zhat = factor u."""
    stage = SecondStage(size, SecondStageSettings(width=4, depth=1, recipe=recipe))
    with torch.no_grad():
        for layer in (stage.to_mu, stage.to_log_sd, stage.to_z):
            layer.weight.zero_()
            layer.bias.zero_()
        stage.to_mu.weight[:, :size] = torch.eye(size)
        stage.to_log_sd.bias.fill_(math.log(sd))
        stage.to_z.weight[:, :size] = factor * torch.eye(size)
    return stage


def test_renormalisation_restores_the_variance_that_shrunk_samples_lost():
    stage = linear(4, factor=0.5, sd=1e-4)
    torch.testing.assert_close(stage.sample(5000, 0).var(), torch.tensor(0.25), rtol=0.05, atol=0)
    stage.renormalise(standard(5000, 4), seed=0)
    # sqrt(Var mu + tau^2) / sd(zhat) = 1 / 0.5; 20,000 numbers on either side.
    assert stage.gain.item() == pytest.approx(2.0, rel=0.03)
    torch.testing.assert_close(stage.sample(5000, 1).var(), torch.tensor(1.0), rtol=0.05, atol=0)


def test_there_is_no_renormalisation_without_an_evident_loss_of_variance():
    posteriors = standard(5000, 4)
    faithful = linear(4, factor=1.0, sd=0.4)  # decoded with more variance than it was given
    faithful.renormalise(posteriors, seed=0)
    assert faithful.gain == 1
    silent = linear(4, factor=0.0, sd=1.0)  # loses all variance, but has nothing to scale
    silent.renormalise(posteriors, seed=0)
    assert silent.gain == 1


def test_only_dai_and_wipf_add_the_noise_of_gamma():
    for recipe, variance in (("asperti2020", 0.25), ("dai2019", 0.25 + 0.49)):
        stage = linear(4, factor=0.5, sd=1.0, recipe=recipe)
        stage.gamma.fill_(0.7)
        found = stage.sample(5000, seed=0).var().item()
        assert found == pytest.approx(variance, rel=0.05)  # 20,000 numbers: standard error 1 %


def test_what_check_raises_ends_the_training():
    calls = []

    def check():
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_second_stage(
            standard(100, 2),
            SecondStageSettings(width=8, depth=1, epochs=10**6, batch_size=10),
            seed=0,
            check=check,
        )
    assert len(calls) == 3


def test_unusable_latents_and_settings_are_said():
    with pytest.raises(UserError, match="10 is more than all 9 latents"):
        train_second_stage(standard(9, 2), TINY, seed=0)
    broken = standard(20, 2)
    broken.mu[3, 1] = torch.nan
    with pytest.raises(UserError, match="not all finite"):
        train_second_stage(broken, TINY, seed=0)
    with pytest.raises(UserError, match=r"second_stage.epochs: epochs is 0"):
        SecondStageSettings(epochs=0)
    with pytest.raises(UserError, match="did you mean 'dai2019'"):
        SecondStageSettings(recipe="dai2018")


@pytest.mark.gpu
def test_a_second_stage_trains_and_samples_on_the_latents_device():
    found = Posteriors(*(part.cuda() for part in standard(200, 3)))
    stage = train_second_stage(found, TINY, seed=0)
    assert stage.sample(300, seed=0).is_cuda
    here = train_second_stage(standard(200, 3), TINY, seed=0)
    torch.testing.assert_close(
        stage.sample(300, seed=0).cpu(), here.sample(300, seed=0), rtol=1e-3, atol=1e-3
    )
