"""The second VAE, on the latents of the first (Dai & Wipf 2019; Asperti & Trentin 2020).

The posteriors of a trained VAE do not fill its prior, above all where the noise variance is small.
A second VAE learns their aggregate: latents z ~ q(z|x), drawn again for every batch, take the place
of images, and new latents for the first decoder are decoded from u ~ N(0, I) (GEN-2).

Network, loss and training are the same in both papers' released code; the two recipes differ in

=================  ============================================  ==============================
                   ``dai2019``                                   ``asperti2020``
=================  ============================================  ==============================
noise gamma_z      ln gamma_z learned with the network from 0    m <- min(m, .99 m + .01 MSE)
                   at its learning rate, without lower bound     from 1, gamma_z = sqrt(m)
samples            zhat(u) + gamma_z eps                         zhat(u), renormalised
=================  ============================================  ==============================

Latents that keep the variance law have covariance near I, and there an idle u with gamma_z = 1 is a
saddle of the loss. A learned gamma_z can rest on it for thousands of steps; the computed one is
pushed off by its minimum, which noisy batches bias below 1.

Sources: "Diagnosing and Enhancing VAE Models", ICLR 2019, section 3 and the code released with it;
arXiv 2002.07514 and its code, commit of 2020-05-23. Renormalisation (section on variance loss, and
arXiv 2002.09860): see :meth:`SecondStage.renormalise`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from vae_core.balancers.contract import Balancer, State, Terms
from vae_core.balancers.learned_sigma import LearnedSigma
from vae_core.balancers.running_average import RELEASED_DECAY, AspertiTrentin
from vae_core.errors import UserError, nearest
from vae_core.generation.latents import BLOCK, Posteriors, normal
from vae_core.geometry import ImageShape
from vae_core.likelihoods import gaussian_kl
from vae_core.models.initialise import initialise
from vae_core.optim import BETAS, EPSILON
from vae_core.randomness import derive, reseeded

Recipe = Literal["asperti2020", "dai2019"]

CHECK_EVERY = 10
"""Steps between two calls of ``check``."""

CHECKED = 10_000
"""Latents that renormalisation is measured on, as in Asperti & Trentin's code."""

VARIANCE_LOSS = 0.25
"""Renormalisation is for a loss of variance above this share of the squared error."""

NO_BOUND = 1e-12
"""In effect no lower bound of gamma_z: ln gamma_z does not reach it in any training."""


@dataclass(frozen=True)
class SecondStageSettings:
    """How a second stage is built and trained.

    Published: Dai & Wipf width 1024, 800 epochs, batch 64, lr 1e-4 halved every 300; Asperti &
    Trentin CIFAR-10 width 2048, 1400 epochs, batch 100, 1e-4 halved every 400; CelebA width 4096,
    140 epochs, batch 100, 5e-5 halved every 120. Depth 3 and u as large as z everywhere.
    """

    width: int = 1024
    """Units a hidden layer"""
    depth: int = 3
    """Hidden layers of the encoder, and of the decoder"""
    latent: int | None = None
    """Size of u; None: that of z"""
    epochs: int = 800
    batch_size: int = 100
    lr: float = 1e-4
    """Adam's learning rate in the first epochs"""
    halve_every: int = 300
    """Epochs after which the learning rate is halved, again and again"""
    recipe: Recipe = "asperti2020"

    def __post_init__(self) -> None:
        for name in ("width", "depth", "epochs", "batch_size", "lr", "halve_every"):
            if not getattr(self, name) > 0:
                raise UserError(
                    f"{name} is {getattr(self, name)!r}",
                    where=f"second_stage.{name}",
                    remedy="give a number above 0",
                )
        if self.recipe not in get_args(Recipe):
            raise UserError(
                f"unknown recipe '{self.recipe}'",
                where="second_stage.recipe",
                remedy=nearest(self.recipe, get_args(Recipe)),
            )


class Dense(nn.Linear):
    """A layer that starts as TensorFlow's: Glorot's uniform weights, zero biases."""

    def reset_parameters(self) -> None:
        """Draw the weights, zero the biases."""
        nn.init.xavier_uniform_(self.weight)
        nn.init.zeros_(self.bias)


class SecondStage(nn.Module):
    """A VAE of latents z [n, Z] with latents u [n, U]; its state dict is all that sampling needs.

    Encoder and decoder are each ``depth`` ReLU layers of ``width`` whose output is concatenated
    with their input before the last, linear layers.

    Args:
        observed: Z, the size of z.
        settings: sizes, and the recipe that says how samples are made.
    """

    gamma: Tensor
    """Standard deviation of p(z|u), a scalar."""
    gain: Tensor
    """Factor on decoded samples, a scalar; 1 where they are not renormalised."""

    def __init__(self, observed: int, settings: SecondStageSettings) -> None:
        super().__init__()
        self.settings, self.observed = settings, observed
        self.latent = settings.latent or observed
        joined = settings.width + observed
        self.encoder = _hidden(observed, settings)
        self.to_mu = Dense(joined, self.latent)
        self.to_log_sd = Dense(joined, self.latent)
        self.decoder = _hidden(self.latent, settings)
        self.to_z = Dense(settings.width + self.latent, observed)
        self.register_buffer("gamma", torch.ones(()))
        self.register_buffer("gain", torch.ones(()))

    def encode(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Posterior mean and log variance [n, U] of latents [n, Z]."""
        features = torch.cat([z, self.encoder(z)], dim=1)
        return self.to_mu(features), 2 * self.to_log_sd(features)

    def decode(self, u: Tensor) -> Tensor:
        """Means zhat [n, Z] of the latents of u [n, U]."""
        zhat: Tensor = self.to_z(torch.cat([u, self.decoder(u)], dim=1))
        return zhat

    def forward(self, z: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Decoded zhat [n, Z] of u = mu + sd * noise [n, U], then mu and log variance [n, U]."""
        mu, logvar = self.encode(z)
        return self.decode(torch.addcmul(mu, noise, (0.5 * logvar).exp())), mu, logvar

    @torch.no_grad()
    def sample(self, count: int, seed: int) -> Tensor:
        """Latents z [count, Z], count >= 1, for the first stage's decoder, as the recipe says.

        Row i depends on the weights, ``seed`` and i only.
        """
        # Whole blocks: a matrix product of fewer rows may round differently.
        padded = count + -count % BLOCK
        noise = normal(padded, self.latent + self.observed, seed, "second stage", "sample")
        noise = noise.to(self.gamma.device)
        z = self.gain * self._decode_all(noise[:, : self.latent])
        if self.settings.recipe == "dai2019":
            z = torch.addcmul(z, noise[:, self.latent :], self.gamma)
        return z[:count]

    @torch.no_grad()
    def renormalise(self, posteriors: Posteriors, seed: int) -> None:
        """Set ``gain`` by the rule in Asperti & Trentin's code, on at most 10,000 posteriors.

        A VAE's decoded values vary less than its data: what q(u|z) blurs is averaged. With zhat
        decoded from u ~ q(u|mu), squared error mse2 = mean (mu - zhat)^2, and variances over
        images averaged over latents, the loss is evident if (Var mu - Var zhat)/mse2 > 0.25. Then

            gain = sqrt(mean(Var mu + E[tau^2])) / mean(sd zhat(u)),  u ~ N(0, I),

        whose numerator is the standard deviation of z ~ q(z|x) (near 1: the variance law).

        One factor serves all latents, and a mean of standard deviations is no more than the root of
        a mean of variances: where zhat spreads unequally (latents that are inactive in the first
        stage are decoded to a point) the others are inflated. That is as published.

        Three departures from the released code: its E[tau^2] is a slip, the mean of
        tau, which overshoots; it measures on the test images, this on training images; and it takes
        the denominator from each batch of 100 samples, this once from 10,000 draws, so that a
        sample does not depend on its neighbours. (The code multiplies the prior samples of GEN-1 by
        the numerator as well; samples of the prior are left alone here.)
        """
        rows = torch.arange(min(CHECKED, len(posteriors.mu)), device=self.gamma.device)
        rows = rows * len(posteriors.mu) // len(rows)
        mu, logvar = (part[rows] for part in posteriors)
        noise = normal(CHECKED, self.latent, seed, "second stage", "check").to(mu)
        pairs = zip(torch.split(mu, BLOCK), torch.split(noise[: len(mu)], BLOCK), strict=True)
        zhat = torch.cat([self(*pair)[0] for pair in pairs])
        lost = _variance(mu).mean() - _variance(zhat).mean()
        spread = _variance(self._decode_all(noise)).sqrt().mean()
        # A decoder that ignores u altogether has no spread to restore.
        if lost / (mu - zhat).square().mean() > VARIANCE_LOSS and spread > 0:
            self.gain.copy_((_variance(mu) + logvar.exp().mean(0)).mean().sqrt() / spread)

    def _decode_all(self, u: Tensor) -> Tensor:
        return torch.cat([self.decode(block) for block in torch.split(u, BLOCK)])


def train_second_stage(
    posteriors: Posteriors,
    settings: SecondStageSettings,
    seed: int,
    *,
    check: Callable[[], None] | None = None,
) -> SecondStage:
    """Train a second stage on the aggregate of ``posteriors``, on their device.

    Minimises per latent vector, in nats, KL(q(u|z) || N(0, I)) + |z - zhat|^2/(2 gamma_z^2) +
    Z/2 ln(2 pi gamma_z^2) by Adam. An epoch visits floor(N / batch_size) batches of the N
    posteriors in a new order. Starting weights, order and noise are functions of ``seed``, the
    epoch and the step, drawn on the CPU.

    Args:
        posteriors: of the training images, N >= batch_size.
        settings: sizes, schedule, recipe.
        seed: of everything random.
        check: called every few steps; an exception from it ends the training.

    Raises:
        UserError: fewer latents than a batch, or posteriors that are not finite.
    """
    posteriors.require_finite("second stage")
    mu, sd = posteriors.mu, (0.5 * posteriors.logvar).exp()
    if len(mu) < settings.batch_size:
        raise UserError(
            f"a batch of {settings.batch_size} is more than all {len(mu)} latents",
            where="second_stage.batch_size",
            remedy="give a smaller batch, or more images",
        )
    stage = SecondStage(mu.shape[1], settings)
    initialise(stage, derive(seed, "second stage"))
    stage.to(mu.device)
    balance = _Balance(stage, len(mu), mu.device)
    trained = [*stage.parameters(), *balance.learned.values()]
    adam = torch.optim.Adam(trained, lr=settings.lr, betas=BETAS, eps=EPSILON, fused=True)
    generator, step = torch.Generator(), 0
    for epoch in range(settings.epochs):
        for group in adam.param_groups:
            group["lr"] = settings.lr * 0.5 ** (epoch // settings.halve_every)
        stream = reseeded(generator, seed, "second stage", "order", epoch)
        order = torch.randperm(len(mu), generator=stream).to(mu.device)
        for rows in torch.split(order, settings.batch_size)[: len(mu) // settings.batch_size]:
            if check is not None and step % CHECK_EVERY == 0:
                check()
            stream = reseeded(generator, seed, "second stage", "noise", step)
            terms = _measured(stage, mu[rows], sd[rows], stream)
            adam.zero_grad()
            torch.autograd.backward(balance.loss(terms))
            adam.step()
            balance.advance(terms)
            step += 1
    stage.gamma.copy_(balance.gamma())
    if settings.recipe == "asperti2020":
        stage.renormalise(posteriors, seed)
    return stage


def _measured(stage: SecondStage, mu: Tensor, sd: Tensor, generator: torch.Generator) -> Terms:
    """The terms of latents drawn from posteriors [n, Z], under noise from ``generator``."""
    noise = torch.randn(len(mu), stage.observed + stage.latent, generator=generator)
    for_z, for_u = torch.split(noise.to(mu.device), [stage.observed, stage.latent], dim=1)
    z = torch.addcmul(mu, for_z, sd)
    zhat, mu_u, logvar_u = stage(z, for_u)
    error = zhat - z
    return Terms(squared_error=(error * error).sum(1)[None], kl=gaussian_kl(mu_u, logvar_u)[None])


class _Balance:
    """The recipe's balancer, for one member whose "images" are latents z (k = 1 in both)."""

    def __init__(self, stage: SecondStage, latents: int, device: torch.device) -> None:
        family: type[Balancer] = AspertiTrentin
        given = {"k": 1.0, "decay": RELEASED_DECAY}
        if stage.settings.recipe == "dai2019":
            family, given = LearnedSigma, {"k": 1.0, "sigma_lr": stage.settings.lr}
            given |= {"sigma_min": NO_BOUND}
        shape = ImageShape(1, 1, stage.observed)
        self._rule = family(shape, stage.latent, latents, stage.settings.batch_size)
        values = self._rule.complete(given, steps=1)  # no rate is left to derive
        self._hyper = {name: torch.tensor([x], device=device) for name, x in values.items()}
        self._state: State = self._rule.initial_state(self._hyper)
        self._terms: Terms | None = None
        self.learned = {
            name: nn.Parameter(self._hyper[spec.init].clone())
            for name, spec in self._rule.learned.items()
        }

    def loss(self, terms: Terms) -> Tensor:
        """Nats per latent vector."""
        return self._rule.loss(terms, self._state, self.learned, self._hyper).squeeze(0)

    @torch.no_grad()
    def advance(self, terms: Terms) -> None:
        """Update the state after a step."""
        self._terms = terms.map(Tensor.detach)
        self._state = self._rule.next_state(self._terms, self._state, self.learned, self._hyper)

    @torch.no_grad()
    def gamma(self) -> Tensor:
        """gamma_z after the last step, a scalar."""
        assert self._terms is not None
        at = self._rule.balance(self._terms, self._state, self.learned, self._hyper)
        return (0.5 * at.log_sigma2).exp().squeeze(0)


def _hidden(inputs: int, settings: SecondStageSettings) -> nn.Sequential:
    """Dense ReLU layers [n, inputs] -> [n, width]."""
    sizes = [inputs, *[settings.width] * settings.depth]
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [Dense(before, after), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def _variance(z: Tensor) -> Tensor:
    """Variance over rows [n, Z] -> [Z]."""
    return z.var(dim=0, correction=0)
