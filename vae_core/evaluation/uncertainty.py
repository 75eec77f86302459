"""Predicted against observed error: whether the noise variance is the uncertainty of a pixel.

The predictive distribution of a pixel is Gaussian (or Laplace) around the decoder's mean, with the
noise variance sigma^2: one number refitted on training images, or what the decoder's head predicts
for each image or pixel (Lin et al. 2019). z is the posterior sample every image is evaluated with,
and the images are dequantised, so that a calibrated model reaches every nominal value exactly.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from vae_core.evaluation.likelihood import Batch, decode_noise, log_variance
from vae_core.evaluation.pictures import GAP, grid
from vae_core.likelihoods import Noise, negative_log_likelihood
from vae_core.models.contract import VAE, evaluating

LEVELS = torch.arange(1, 40, dtype=torch.float64) / 40
"""Levels of the quantile table: 0.025, 0.05, ..., 0.975, the ends of the intervals among them."""

INTERVALS = (50, 90, 95)
"""Central intervals whose coverage is reported, per cent."""

ROWS = 20
"""The most rows of the variance table: each holds about a twentieth of all pixels."""

LOG_VARIANCE = (-20.0, 10.0)
"""ln sigma^2 is counted in this range; values outside count at its ends."""
FINE = 0.002
"""Width in ln sigma^2 of the bins that are counted: 0.2 % of a variance."""

BRIGHTEST = 0.99
"""Share of the values of maps below the one shown as white."""

Row = dict[str, float]


@dataclass(frozen=True)
class Calibration:
    """Agreement of observed with predicted errors."""

    scalars: dict[str, float]
    """coverage_50, coverage_90, coverage_95: share of pixels inside the central interval that
    should hold so many per cent. calibration_error: mean over levels of
    |observed - expected| in the quantile table, 0 at best and at most 0.5. nll: -ln p(x | z),
    nats per image. nan, all of them, if the model has diverged."""
    quantiles: list[Row]
    """By level: ``expected``, and the share of pixels ``observed`` below their own predictive
    quantile of that level (Kuleshov et al. 2018, section 3.5)."""
    variances: list[Row]
    """By quantile of the predicted variance, lowest first: ``quantile`` (share of all pixels up
    to and with this row), ``pixels``, ``predicted`` (mean variance) and ``observed`` (mean squared
    error). One row where all pixels share one variance; none if the model has diverged."""


class Maps(NamedTuple):
    """A picture with maps, and their scale."""

    picture: Image.Image
    limit: float
    """The standard deviation or error, in units of x, that is shown as white; 0 is black."""


def calibration(
    model: VAE,
    batches: Iterable[Batch],
    sigma2: float | None = None,
    likelihood: Noise = "gaussian",
) -> Calibration:
    """Compare predicted with observed errors on ``batches``, held-out ones as a rule.

    Pixels are counted into fixed bins, batch by batch, so that memory does not grow with their
    number; and on the CPU, where sums have one order.

    Args:
        model: evaluated in evaluation mode.
        batches: images and the noise of their latents.
        sigma2: noise variance, from :func:`~vae_core.evaluation.fitted_variance`; None: the
            model's own head.
        likelihood: the kind of noise.
    """
    edges = _standard_quantiles(likelihood).float()
    below = torch.zeros(len(edges) + 1, dtype=torch.float64)
    bins = round((LOG_VARIANCE[1] - LOG_VARIANCE[0]) / FINE)
    counts, predicted, observed = torch.zeros(3, bins, dtype=torch.float64)
    nats = []
    with evaluating(model):
        for x, noise in batches:
            out = model(x, noise)
            spread = log_variance(model, out.log_sigma2, sigma2)
            nats.append(negative_log_likelihood(x, out.xhat, spread, likelihood).double())
            log_sigma2 = spread.expand_as(x).flatten().cpu()
            error = (x - out.xhat).flatten().cpu()
            standard = error * (-0.5 * log_sigma2).exp()
            below += torch.bincount(torch.bucketize(standard, edges), minlength=len(below))
            fine = ((log_sigma2 - LOG_VARIANCE[0]) / FINE).nan_to_num().clamp(0, bins - 1).long()
            counts += torch.bincount(fine, minlength=bins)
            predicted += torch.bincount(fine, log_sigma2.double().exp(), minlength=bins)
            observed += torch.bincount(fine, error.double().square(), minlength=bins)
    nll = float(torch.cat(nats).mean())
    diverged = not math.isfinite(nll)
    shares = below.cumsum(0)[:-1] / (math.nan if diverged else counts.sum())
    scalars = {f"coverage_{p}": _coverage(shares, p) for p in INTERVALS}
    scalars |= {"calibration_error": float((shares - LEVELS).abs().mean()), "nll": nll}
    return Calibration(
        scalars=scalars,
        quantiles=[
            {"expected": level, "observed": share}
            for level, share in zip(LEVELS.tolist(), shares.tolist(), strict=True)
        ],
        variances=[] if diverged else _variance_rows(counts, predicted, observed),
    )


def variance_maps(model: VAE, batch: Batch, sigma2: float | None = None) -> Maps:
    """Each image, its reconstruction, the predicted standard deviation and the absolute error.

    Four tiles an image, side by side, two images a row. The two maps share one scale, from 0
    (black) to the value that 99 % of their pixels are below (white); a caption states it.

    Args:
        model: evaluated in evaluation mode.
        batch: the images to show, n >= 1, and the noise of their latents.
        sigma2: noise variance; None: the model's own head.
    """
    with evaluating(model):
        out = model(*batch)
        spread = log_variance(model, out.log_sigma2, sigma2)
    deviation = (0.5 * spread).exp().expand_as(batch.x)
    error = (batch.x - out.xhat).abs()
    maps = torch.stack([deviation, error]).cpu().numpy()
    limit = float(np.quantile(maps, BRIGHTEST)) or 1.0
    tiles = torch.stack([batch.x, out.xhat, deviation / limit, error / limit], dim=1)
    caption = f"image, reconstruction, standard deviation, |error|; white: {limit:.3g}"
    return Maps(_captioned(grid(tiles.flatten(0, 1)), caption), limit)


def sample_maps(model: VAE, z: Tensor, limit: float, sigma2: float | None = None) -> Image.Image:
    """The image of each latent, beside the standard deviation predicted for it.

    Args:
        model: evaluated in evaluation mode.
        z: latents [n, Z], n >= 1, such as :func:`~vae_core.generation.sample_prior` decodes.
        limit: what is shown as white, that of :func:`variance_maps`; above 0.
        sigma2: noise variance; None: the model's own head.
    """
    with evaluating(model):
        xhat, spread = decode_noise(model, z.to(next(model.parameters()).device), sigma2)
    deviation = (0.5 * spread).exp().expand_as(xhat)
    tiles = torch.stack([xhat, deviation / limit], dim=1).flatten(0, 1)
    return _captioned(grid(tiles), f"sample, standard deviation; white: {limit:.3g}")


def _standard_quantiles(likelihood: Noise) -> Tensor:
    """Quantiles at :data:`LEVELS` of noise of mean 0 and variance 1."""
    if likelihood == "laplace":
        away = LEVELS - 0.5
        return -away.sign() * torch.log1p(-2 * away.abs()) / math.sqrt(2)
    quantiles: Tensor = torch.special.ndtri(LEVELS)
    return quantiles


def _coverage(shares: Tensor, per_cent: int) -> float:
    """Share of pixels between the ends of the central interval of ``per_cent`` per cent."""
    tail = (100 - per_cent) / 200
    low = int((LEVELS - tail).abs().argmin())
    return float(shares[len(LEVELS) - 1 - low] - shares[low])


def _variance_rows(counts: Tensor, predicted: Tensor, observed: Tensor) -> list[Row]:
    """Fine bins of ln sigma^2 merged to rows of about equally many pixels.

    A fine bin goes whole to the row its middle pixel belongs to: many pixels of one variance
    make one row, and there are fewer rows then.
    """
    total, upto = counts.sum(), counts.cumsum(0)
    rows = ((upto - counts / 2) / total * ROWS).long()
    found = []
    for row in sorted(set(rows[counts > 0].tolist())):
        here = (rows == row) & (counts > 0)
        pixels = float(counts[here].sum())
        found.append(
            {
                "quantile": float(upto[here].max() / total),
                "pixels": pixels,
                "predicted": float(predicted[here].sum()) / pixels,
                "observed": float(observed[here].sum()) / pixels,
            }
        )
    return found


def _captioned(picture: Image.Image, text: str) -> Image.Image:
    """``picture`` above a line of text, as wide as the wider of the two."""
    _, _, width, height = ImageDraw.Draw(picture).textbbox((GAP, GAP), text)
    size = (max(picture.width, math.ceil(width) + GAP), picture.height + math.ceil(height) + GAP)
    sheet = Image.new(picture.mode, size, "white")
    sheet.paste(picture)
    ImageDraw.Draw(sheet).text((GAP, picture.height + GAP), text, fill="black")
    return sheet
