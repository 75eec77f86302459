"""How well a model explains images: one measurement, the same for every balancer.

Everything here is a deterministic function of the parameters and the draws asked for. Which images
are scored, how they are dequantised and the fixed draw of latent noise depend on the split's name,
the row and the latent size alone. Further draws of latents depend on a trial's seed, too: trials of
one seed share them, those of different seeds err independently.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vae_core.errors import ContractError
from vae_core.geometry import ImageShape
from vae_core.likelihoods import (
    LEVELS,
    Likelihood,
    Noise,
    absolute_error,
    bits_per_dim,
    calibrated_negative_elbo,
    calibrated_variance,
    continuous_bernoulli_log_normaliser,
    cross_entropy,
    gaussian_kl,
    laplace_negative_elbo,
    laplace_scale,
    log_bin_mass,
    negative_log_likelihood,
    squared_error,
)
from vae_core.models.contract import VAE, evaluating
from vae_core.randomness import reseeded

BLOCK = 256
"""Rows of a batch, and of one draw of noise. A constant: another one is another noise."""

KEPT_BYTES = 128 * 2**20
"""Dequantised images of one set are kept between evaluations up to this size, else drawn again."""

ACTIVE_VARIANCE = 0.01
"""A latent is active if the variance over images of its posterior mean exceeds this
(Burda et al. 2016)."""


class ImageRows(Protocol):
    """The part of :class:`vae_core.data.Images` that evaluation reads."""

    @property
    def pixels(self) -> npt.NDArray[np.uint8]:
        """Bytes [n_file, D] of all images of a file."""

    @property
    def index(self) -> npt.NDArray[np.int64]:
        """Rows [n] of ``pixels`` that belong to the split."""


class Batch(NamedTuple):
    """Images and the latent noise they are always evaluated with."""

    x: Tensor
    """[B, C, H, W], dequantised: (v + u)/256"""
    noise: Tensor
    """[B, Z]; [K, B, Z] of K draws"""


@dataclass(frozen=True)
class Measurement:
    """What one model does on one set of images, averaged over them in float64."""

    S: float
    """Squared error, summed over pixels, of a posterior sample's decoding (units of x^2)."""
    S1: float
    """Absolute error, likewise (units of x)"""
    mse: float
    """S/D"""
    R: float
    """KL to the prior, nats per image"""
    nll: float | None
    """-ln p(x | z) under the decoder's own head (Gaussian) or a continuous Bernoulli, nats per
    image; None where it is neither"""
    active_units: float
    """Number of latents d with Var_x(E[z_d | x]) > 0.01; nan if any variance is not finite"""
    variance_law: float
    """Mean over latents of Var_x(E[z_d | x]) + E_x[Var(z_d | x)], the aggregate posterior's
    variance: 1 at an optimum, where it equals the prior's (Asperti & Trentin 2020)"""
    n: int
    """Images measured"""


class ImageTerms(NamedTuple):
    """The two terms of the ELBO for each of N images, under K draws of latents; float64."""

    S: Tensor
    """[K, N]: squared error, as :class:`Measurement` has it"""
    R: Tensor
    """[N]: KL to the prior, which no draw changes"""


class EvaluationSet:
    """At most ``count`` images of a split, on a device, with their fixed noise.

    The images are spread evenly over the split, so that a source sorted by class is covered.

    Args:
        images: the split's images, bytes.
        split: its name ("train", "validation", "test"); names the noise.
        count: the most images to use.
        shape: of an image.
        device: where batches are wanted. Noise is drawn on the CPU, the same for every device.
    """

    def __init__(
        self,
        images: ImageRows,
        split: str,
        *,
        count: int,
        shape: ImageShape,
        device: torch.device | str = "cpu",
    ) -> None:
        n = min(count, len(images.index))
        rows = images.index[np.arange(n) * len(images.index) // max(n, 1)]
        self.split, self.shape, self.device = split, shape, torch.device(device)
        self._bytes = torch.from_numpy(images.pixels[rows]).view(n, *shape.chw).to(self.device)
        self._keeps = n * shape.dims * 4 <= KEPT_BYTES
        self._kept: dict[int, Tensor] = {}
        self._generator = torch.Generator()

    def __len__(self) -> int:
        return len(self._bytes)

    def batches(self, latent: int) -> Iterator[Batch]:
        """All images in order, in batches of at most 256, with noise for ``latent`` latents."""
        for block, values in enumerate(self.values()):
            x = self._dequantised(block, values)
            yield Batch(x, self._noise(len(x), latent, "latents", latent, block))

    def drawn(self, latent: int, seed: int, count: int) -> Iterator[Batch]:
        """The same batches with ``count`` draws of noise [K, B, Z], keyed by seed, row and draw.

        A single draw is the fixed one of :meth:`batches`, whatever the seed. The dequantisation is
        fixed: it belongs to the image, and a fresh one would take a pass of the encoder.
        """
        for block, (x, noise) in enumerate(self.batches(latent)):
            names = ("draws", latent, block)
            draws = [self._noise(len(x), latent, *names, k, seed=seed) for k in range(count)]
            yield Batch(x, torch.stack(draws) if count > 1 else noise.unsqueeze(0))

    def values(self) -> Iterator[Tensor]:
        """The bytes [B, C, H, W] that the images of each batch were made from."""
        for start in range(0, len(self), BLOCK):
            yield self._bytes[start : start + BLOCK]

    def draws(self, latent: int, block: int, samples: int) -> Iterator[Tensor]:
        """``samples`` further draws of noise [B, Z] for batch number ``block``."""
        rows = len(self._bytes[block * BLOCK : (block + 1) * BLOCK])
        for sample in range(samples):
            yield self._noise(rows, latent, "importance", latent, block, sample)

    def _noise(self, rows: int, latent: int, *names: str | int, seed: int = 0) -> Tensor:
        noise = torch.randn(BLOCK, latent, generator=self._stream(seed, *names))
        return noise[:rows].to(self.device)

    def _dequantised(self, block: int, values: Tensor) -> Tensor:
        if block in self._kept:
            return self._kept[block]
        u = torch.rand(BLOCK, *self.shape.chw, generator=self._stream(0, "pixels", block))
        x = u[: len(values)].to(self.device).add_(values).div_(LEVELS)
        if self._keeps:
            self._kept[block] = x
        return x

    def _stream(self, seed: int, *names: str | int) -> torch.Generator:
        return reseeded(self._generator, seed, "evaluation", self.split, *names)


def measure(
    model: VAE, batches: Iterable[Batch], likelihood: Likelihood = "gaussian"
) -> Measurement:
    """What ``model``, in evaluation mode, does on ``batches``: the mean over their draws.

    Values that are not finite are returned as they are: a diverged model is the caller's to judge.
    """
    return measure_images(model, batches, likelihood)[0]


def measure_images(
    model: VAE, batches: Iterable[Batch], likelihood: Likelihood = "gaussian"
) -> tuple[Measurement, ImageTerms]:
    """The same, and the terms for each image. Images are encoded once, whatever the draws."""
    S, S1, nll = list[list[Tensor]](), list[list[Tensor]](), list[list[Tensor]]()
    R, means = list[Tensor](), list[Tensor]()
    spread = torch.zeros((), dtype=torch.float64)
    with evaluating(model):
        for x, noise in batches:
            mu, logvar = (value.float() for value in model.encode(x))
            for part in (S, S1, nll):
                part.append([])
            for draw in noise.unsqueeze(0) if noise.dim() == 2 else noise:
                out = model.decode_draw(mu, logvar, draw)
                S[-1].append(squared_error(x, out.xhat).double())
                S1[-1].append(absolute_error(x, out.xhat).double())
                if out.log_sigma2 is not None:
                    nll[-1].append(out.nll(x).double())
                elif likelihood == "continuous_bernoulli":
                    pixels = cross_entropy(x, out.xhat)
                    pixels = pixels - continuous_bernoulli_log_normaliser(out.xhat)
                    nll[-1].append(pixels.sum(dim=(-3, -2, -1)).double())
            R.append(gaussian_kl(mu, logvar).double().sum(-1))
            means.append(mu.double())
            spread = spread.to(x.device) + logvar.double().exp().mean(-1).sum()
    variance = torch.cat(means).var(dim=0, correction=0)
    active = (variance > ACTIVE_VARIANCE).sum() if variance.isfinite().all() else torch.nan
    terms = ImageTerms(_by_draw(S), torch.cat(R))
    mean_S, n = _mean(terms.S), len(terms.R)
    measured = Measurement(
        S=mean_S,
        S1=_mean(_by_draw(S1)),
        mse=mean_S / model.shape.dims,
        R=float(terms.R.mean()),
        nll=_mean(_by_draw(nll)) if nll[0] else None,
        active_units=float(active),
        variance_law=float(variance.mean() + spread / n),
        n=n,
    )
    return measured, terms


def _by_draw(blocks: Sequence[Sequence[Tensor]]) -> Tensor:
    """[K, N] of blocks of K draws of [B] each."""
    return torch.stack([torch.cat(draws) for draws in zip(*blocks, strict=True)])


def _mean(values: Tensor) -> float:
    """Of [K, N], over draws the mean of the means over images."""
    return sum(float(draw.mean()) for draw in values) / len(values)


def fitted_variance(train: Measurement, dims: int, likelihood: Noise = "gaussian") -> float:
    """The noise variance that fits the training images best, to score others with.

    Gaussian: the MSE. Laplace: 2 b^2 with b the mean absolute error.
    """
    if likelihood == "laplace":
        return 2 * laplace_scale(train.S1, dims) ** 2
    return calibrated_variance(train.S, dims)


def calibrated(
    train: Measurement, held_out: Measurement, dims: int, likelihood: Likelihood = "gaussian"
) -> dict[str, float]:
    """The metrics of ``held_out``, with sigma^2 refitted on ``train`` images of ``dims`` pixels.

    Args:
        train: measured on the fixed part of the training split.
        held_out: measured on the images to score.
        dims: D, pixels times channels.
        likelihood: what the model was trained under. The calibrated bound is the scalar
            Gaussian's whatever it is, so that all methods are compared under one likelihood.

    Returns:
        S, MSE, R, calibrated_negative_elbo (the negative ELBO, nats per image, lower is better),
        bits_per_dim (of bytes, uniform dequantisation), active_units and variance_law. With a
        Laplace likelihood (b refitted on ``train``), a decoder with a head (its own sigma^2) or a
        continuous Bernoulli, also own_negative_elbo and own_bits_per_dim: the same two under the
        likelihood the model was trained with. A sigma^2 optimal for each image has none: computed
        from the image it scores, it is no density of held-out images. Nor have a Bernoulli, which
        is no density of grey images, a discretised logistic, which is a mass, and a Student-t,
        whose learned scalars are the balancer's.
    """
    sigma2 = calibrated_variance(train.S, dims)
    elbo = calibrated_negative_elbo(held_out.S, held_out.R, sigma2, dims)
    metrics = {
        "S": held_out.S,
        "MSE": held_out.mse,
        "R": held_out.R,
        "calibrated_negative_elbo": elbo,
        "bits_per_dim": bits_per_dim(elbo, dims),
        "active_units": held_out.active_units,
        "variance_law": held_out.variance_law,
    }
    own = _own_negative_elbo(train, held_out, dims, likelihood)
    if own is not None:
        metrics |= {"own_negative_elbo": own, "own_bits_per_dim": bits_per_dim(own, dims)}
    return metrics


def _own_negative_elbo(
    train: Measurement, held_out: Measurement, dims: int, likelihood: Likelihood
) -> float | None:
    """The negative ELBO under the model's own likelihood, where it is not the scalar Gaussian."""
    if held_out.nll is not None:
        return held_out.nll + held_out.R
    if likelihood == "laplace":
        return laplace_negative_elbo(held_out.S1, held_out.R, laplace_scale(train.S1, dims), dims)
    return None


def log_variance(model: VAE, predicted: Tensor | None, sigma2: float | None) -> Tensor:
    """What pixels are scored with: ln of ``sigma2``, else the ln sigma^2 a head predicts.

    Raises:
        ContractError: neither is there.
    """
    if sigma2 is not None:
        device = next(model.parameters()).device
        return torch.tensor(sigma2, dtype=torch.float64).log().float().to(device)
    if predicted is None:
        raise ContractError(
            "no noise variance to score pixels with",
            where=type(model).__name__,
            remedy="give sigma2, or a model whose decoder has a head",
        )
    return predicted


def decode_noise(model: VAE, z: Tensor, sigma2: float | None) -> tuple[Tensor, Tensor]:
    """The decoder's means of latents z [B, Z], and ln of the noise variance around them.

    The variance is ``sigma2``, else that of the model's head; see :func:`log_variance`.
    """
    if sigma2 is None and model.head is not None:
        return model.decode_spread(z)
    return model.decode(z), log_variance(model, None, sigma2)


def discretised_bits_per_dim(
    model: VAE, images: EvaluationSet, sigma2: float | None = None
) -> float:
    """Bits per dimension of the bytes themselves, under a Gaussian discretised to their bins.

    (-ln P(v | z) + R) / (D ln 2), P the product over pixels of :func:`log_bin_mass`, z drawn from
    the posterior of the dequantised image: a bound on the length of a lossless code. It is a
    mass, not a density: never put it in one ranking with ``bits_per_dim`` or any other density,
    which it beats or loses to by convention alone.

    Args:
        model: scored in evaluation mode.
        images: the images; their bytes are scored.
        sigma2: noise variance, from :func:`fitted_variance`; None: the model's own head.
    """
    nats = []
    with evaluating(model):
        for (x, noise), values in zip(images.batches(model.latent), images.values(), strict=True):
            out = model(x, noise)
            spread = log_variance(model, out.log_sigma2, sigma2)
            mass = log_bin_mass(values, out.xhat, spread).sum(dim=(1, 2, 3))
            nats.append(gaussian_kl(out.mu, out.logvar).double().sum(-1) - mass)
    return float(torch.cat(nats).mean()) / (model.shape.dims * math.log(2.0))


def iwae(
    model: VAE,
    images: EvaluationSet,
    samples: int,
    *,
    sigma2: float | None = None,
    likelihood: Noise = "gaussian",
    check: Callable[[], None] | None = None,
) -> float:
    """The importance-weighted bound (Burda et al. 2016, eq. 8), NEGATIVE, nats per image.

    -L_k = -E ln (1/k) sum_i p(x | z_i) p(z_i) / q(z_i | x), z_i from q, k = ``samples``: the
    negative ELBO at k = 1, falling towards -ln p(x) as k grows; lower is better. It is a density,
    comparable with ``calibrated_negative_elbo`` (or ``own_negative_elbo``) under the same noise.
    Draws are fixed by split, row and number, so that those of a smaller k are among those of a
    larger one.

    Args:
        model: scored in evaluation mode; k latents an image are decoded, 256 images at a time.
        images: the images.
        samples: k, 1 or more.
        sigma2: noise variance, from :func:`fitted_variance`; None: the model's own head.
        likelihood: the kind of noise ``sigma2`` is the variance of.
        check: called before each decoding; may raise to interrupt.
    """
    bounds = []
    with evaluating(model):
        for block, (x, _) in enumerate(images.batches(model.latent)):
            mu, logvar = model.encode(x)
            total = torch.full((len(x),), -math.inf, dtype=torch.float64, device=x.device)
            for noise in images.draws(model.latent, block, samples):
                if check is not None:
                    check()
                z = torch.addcmul(mu, noise, (0.5 * logvar).exp())
                xhat, spread = decode_noise(model, z, sigma2)
                # ln p(z) - ln q(z | x), where the two ln(2 pi) cancel.
                ratio = 0.5 * (noise * noise + logvar - z * z).double().sum(-1)
                nll = negative_log_likelihood(x, xhat, spread, likelihood).double()
                total = torch.logaddexp(total, ratio - nll)
            bounds.append(math.log(samples) - total)
    return float(torch.cat(bounds).mean())
