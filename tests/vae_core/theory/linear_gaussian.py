"""A linear VAE on Gaussian images: a problem whose optimum is known in closed form.

Every quantity of a linear VAE depends on the data through its mean and covariance alone, so the
eigenvalues of the empirical covariance of the bytes are the exact truth: the sampling, rounding and
clipping of the images add no error. Training and evaluation both spread a byte uniformly over its
grey level, which adds 1/(12 256^2) to every eigenvalue.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import hadamard
from torch import Tensor, nn

from vae_core.bank import Bank, Checkpoint, Member, Segment
from vae_core.batches import TrainingImages
from vae_core.evaluation.likelihood import EvaluationSet, Measurement, measure
from vae_core.geometry import ImageShape
from vae_core.models import VAE
from vae_core.models.contract import Head
from vae_core.models.heads import ImageHead
from vae_core.models.layers import Linear

SHAPE = ImageShape(1, 4, 4)
LATENT = 3
IMAGES = 8192
POPULATION = (0.16, 0.08, 0.04, *np.geomspace(0.010, 0.004, SHAPE.dims - LATENT))
"""Eigenvalues the images are drawn with. Factors of 2 keep the axes of the latents apart: the
turning of latents towards the eigenvectors is what converges last."""
DEQUANTISATION = 1 / (12 * 256**2)
BATCH = 256
STAGES = ((6e-2, 600), (1e-2, 500), (3e-3, 300), (1e-3, 300))
"""(learning rate, steps). At a constant rate Adam's parameters keep a spread proportional to its
root; the last stages shrink that spread below 1 % of S."""


class Vector(nn.Module):
    """A parameter that is a vector, started at zero."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.empty(size))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.value)


class LinearVAE(VAE):
    """mu = A (x - 1/2) + a, the same posterior variances for every image, xhat = W z + b.

    The constant ``GAIN`` on both sides only brings the weights to a common order of magnitude. With
    an image head ln sigma is linear in z; it has to find out that sigma does not depend on z.
    """

    heads = frozenset({"image"})
    GAIN = 8.0

    def __init__(self, shape: ImageShape, latent: int, head: Head | None = None) -> None:
        super().__init__(shape, latent, head)
        self.encoder = Linear(shape.dims, latent)
        self.decoder = Linear(latent, shape.dims)
        self.logvar = Vector(latent)
        if head is not None:
            self.spread = ImageHead(latent)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mu = self.encoder((x.flatten(1) - 0.5) * self.GAIN)
        return mu, self.logvar.value.expand_as(mu)

    def decode(self, z: Tensor) -> Tensor:
        return (self.decoder(z) / self.GAIN + 0.5).view(-1, *self.shape.chw)

    def decode_spread(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return self.decode(z), self.spread(z)


@dataclass(frozen=True)
class Images:
    """Bytes [n, D], all of which are meant (``ImageRows``)."""

    pixels: np.ndarray

    @property
    def index(self) -> np.ndarray:
        return np.arange(len(self.pixels))

    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean [D] and covariance [D, D] of the dequantised images (v + u)/256."""
        x = (self.pixels + 0.5) / 256
        return x.mean(0), np.cov(x.T, bias=True) + DEQUANTISATION * np.eye(x.shape[1])


def gaussian_images(scale: int, seed: int) -> Images:
    """Images with all pixels of equal variance, about mid-grey; ``scale`` 2 has double contrast.

    The images of both scales are the same up to that factor, to the last bit of rounding.
    """
    axes = hadamard(SHAPE.dims) / math.sqrt(SHAPE.dims)
    z = np.random.default_rng(seed).normal(size=(IMAGES, SHAPE.dims)) * np.sqrt(POPULATION)
    steps = np.clip(np.rint(z @ axes.T * 128), -63, 63)
    return Images((128 + scale * steps).astype(np.uint8))


@dataclass(frozen=True)
class Optimum:
    """The optima of a linear VAE with ``LATENT`` latents on data with these eigenvalues.

    For one latent along an eigenvector with eigenvalue l, decoder weight w, encoder weight v and
    posterior variance s, half the error plus tau times the rate is
    (l (1 - w v)^2 + w^2 s)/2 + tau (v^2 l + s - 1 - ln s)/2. Stationary in s and v:
    s = tau/(w^2 + tau), v = w/(w^2 + tau); then in w: w^2 = l - tau if l > tau, else 0. Put in,
    the error along it is min(l, tau) and the rate max(0, ln(l/tau)/2); what has no latent is lost.
    """

    eigenvalues: np.ndarray
    """Descending, [D]"""

    @property
    def noise(self) -> float:
        """pPCA's noise variance (Tipping & Bishop 1999): the mean of the eigenvalues left over.

        The fixed point D(tau)/D = tau: K tau + (sum of the D - K smallest) = D tau.
        """
        return float(self.eigenvalues[LATENT:].mean())

    def distortion(self, tau: float) -> float:
        """D(tau), the mean of S."""
        kept, lost = self.eigenvalues[:LATENT], self.eigenvalues[LATENT:]
        return float(np.minimum(kept, tau).sum() + lost.sum())

    def rate(self, tau: float) -> float:
        """R(tau), nats per image."""
        return float(np.maximum(0.0, 0.5 * np.log(self.eigenvalues[:LATENT] / tau)).sum())

    def calibrated(self, tau: float) -> float:
        """The negative ELBO at D(tau), R(tau) with sigma^2 = D(tau)/D."""
        sigma2 = self.distortion(tau) / SHAPE.dims
        return 0.5 * SHAPE.dims * math.log(2 * math.pi * math.e * sigma2) + self.rate(tau)


def optimum(images: Images) -> Optimum:
    return Optimum(np.linalg.eigvalsh(images.moments()[1])[::-1])


Rule = tuple[str, Mapping[str, float]]
"""A balancer and its hyperparameters; ``sigma_lr`` follows the network's learning rate."""


@dataclass(frozen=True)
class Trained:
    """What became of one member."""

    model: VAE
    segment: Segment
    """The last stage of training."""
    train: Measurement
    """Of the images it was trained on."""

    @property
    def error(self) -> float:
        """S of the training images."""
        return self.train.S

    @property
    def rate(self) -> float:
        """R of the training images."""
        return self.train.R


def train_all(
    model: Mapping[str, object],
    images: Images,
    shape: ImageShape,
    rules: Sequence[Rule],
    stages: Sequence[tuple[float, int]] = STAGES,
    start: VAE | None = None,
    head: Head | None = None,
) -> list[Trained]:
    """Train every rule from the same start, on the same images, side by side in one bank.

    A smaller learning rate is a member admitted again from its checkpoint. The start is that of
    seed 0, or the parameters of ``start``.
    """
    bank = Bank(
        model,
        TrainingImages(images, torch.device("cpu")),
        shape,
        width=len(rules),
        batch_size=BATCH,
        dequantize=True,
        head=head,
    )
    evaluation = EvaluationSet(images, "train", count=len(images.pixels), shape=shape)
    saved: list[Checkpoint | None] = [None] * len(rules)
    total = sum(steps for _, steps in stages)
    if start is not None:
        given = {f"parameter/{name}": value.detach() for name, value in start.named_parameters()}
        for row, (name, hyper) in enumerate(rules):
            bank.admit(Member(seed=0, lr=0.1, balancer=name, hyper=hyper, steps=total))
            saved[row] = {**bank.checkpoint(row), **given}
    segments: list[Segment] = []
    for lr, steps in stages:
        for row in bank.active():
            bank.release(row)
        for row, (name, hyper) in enumerate(rules):
            given = {**hyper, "sigma_lr": lr} if name == "learned_sigma" else hyper
            member = Member(seed=0, lr=lr, balancer=name, hyper=given, steps=total)
            assert bank.admit(member, saved[row]) == row
        bank.train(steps)
        segments = [bank.segment(row) for row in bank.active()]
        saved = [bank.checkpoint(row) for row in bank.active()]
    models = [copy.deepcopy(bank.model(row)) for row in bank.active()]
    return [
        Trained(found, segment, measure(found, evaluation.batches(bank.latent)))
        for found, segment in zip(models, segments, strict=True)
    ]
