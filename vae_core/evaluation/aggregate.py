"""The aggregate posterior: what the latents of many images tell together, and how they differ from
the prior.

q(z) = 1/N sum_n q(z|x_n), the mixture of the posteriors of the N images measured. R, the
mean KL of a posterior from the prior, is what latents tell of which image it is, plus how far q(z)
is from the prior (Hoffman & Johnson 2016, "ELBO surgery"; the second line Chen et al. 2018, arXiv
1802.04942, eq. 2):

    R = I(n; z) + KL(q(z) || p(z))
      = I(n; z) + TC(z) + sum_d KL(q(z_d) || p(z_d)),   TC(z) = KL(q(z) || prod_d q(z_d))

All are of this mixture, so they depend on N. No image can be told from more than N - 1 others: the
mutual information is at most ln N, and is that as soon as posteriors stop overlapping. From there
on what R grows by is marginal KL and total correlation, even of latents that are independent in
an infinite population. Compare at one N only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vae_core.evaluation.likelihood import Batch
from vae_core.likelihoods import gaussian_kl
from vae_core.models.contract import VAE, evaluating

AGGREGATED = 1024
"""N of every study, whatever else it measures on. Time grows with its square, and what is measured
depends on it."""

ROWS = 64
"""Images compared with all N at a time: a matrix [64, N] of float64 is held, never [N, N]."""


@dataclass(frozen=True)
class Aggregate:
    """The aggregate posterior of N images, in nats where not said otherwise."""

    scalars: dict[str, float]
    """mutual_information, marginal_kl, total_correlation and dimension_kl (the sum over latents of
    KL(q(z_d) || p(z_d))); mmd, squared, of :func:`mmd`; effective_latents, of :func:`effective`.
    nan, all of them, if a posterior is not finite."""
    latents: list[dict[str, float]]
    """By latent, the most informative first: ``latent`` (its number), ``kl`` (its part of R) and
    the two that this is the sum of, ``mutual_information`` I(n; z_d) and ``marginal_kl``
    KL(q(z_d) || p(z_d)). None if a posterior is not finite."""


def aggregate(
    model: VAE, batches: Iterable[Batch], check: Callable[[], None] | None = None
) -> Aggregate:
    """Measure the aggregate posterior of ``batches``, N >= 2 images.

    R is exact, so that its parts add up to it. Their expectations under q(z|x_n) take the one
    latent of each image that its noise gives; q(z) and q(z_d) are exact mixtures of all N. Time
    grows with N^2 Z.

    Args:
        model: encodes in evaluation mode.
        batches: images and the noise of their latents [B, Z].
        check: called regularly; may raise to interrupt.
    """
    with evaluating(model):
        parts = [(*model.encode(x), noise) for x, noise in batches]
        mu, logvar, noise = (torch.cat(part).double() for part in zip(*parts, strict=True))
    kl = gaussian_kl(mu, logvar).mean(dim=0)
    if not bool(kl.isfinite().all() and (-logvar).exp().isfinite().all()):
        return Aggregate(dict.fromkeys(NAMES, math.nan), [])
    joint, each = information(mu, logvar, noise, check)
    values: Sequence[Tensor | float] = (
        joint,
        kl.sum() - joint,
        each.sum() - joint,
        (kl - each).sum(),
        mmd(torch.addcmul(mu, noise, (0.5 * logvar).exp()), check),
        effective(kl),
    )
    order = kl.argsort(descending=True, stable=True)
    columns = (order, *(part[order] for part in (kl, each, kl - each)))
    return Aggregate(
        {name: float(value) for name, value in zip(NAMES, values, strict=True)},
        [
            dict(zip(LATENT, row, strict=True))
            for row in zip(*(column.tolist() for column in columns), strict=True)
        ],
    )


NAMES: Sequence[str] = (
    "mutual_information",
    "marginal_kl",
    "total_correlation",
    "dimension_kl",
    "mmd",
    "effective_latents",
)
"""The scalars of an :class:`Aggregate`."""

LATENT: Sequence[str] = ("latent", "kl", "mutual_information", "marginal_kl")
"""The columns of its table."""


def information(
    mu: Tensor, logvar: Tensor, noise: Tensor, check: Callable[[], None] | None = None
) -> tuple[Tensor, Tensor]:
    """I(n; z), a scalar, and I(n; z_d) of every latent [Z]: nats.

    The mean over n of ln q(z_n|x_n) - ln q(z_n), z_n = mu_n + exp(logvar_n / 2) noise_n. As q(z_n)
    holds q(z_n|x_n)/N, no term exceeds ln N. Posteriors that are all equal give 0 and those that
    do not overlap ln N, whatever the noise. The sum of I(n; z_d) less I(n; z) is the total
    correlation on the same latents.

    Args:
        mu: posterior means [N, Z], float64, finite.
        logvar: [N, Z], finite.
        noise: [N, Z].
        check: called regularly; may raise to interrupt.
    """
    # By latent [Z, N]: a column of [N, Z] would be gathered, ten times as slowly.
    mu, logvar, noise = (part.T.contiguous() for part in (mu, logvar, noise))
    precision, drawn = (-0.5 * logvar).exp(), (0.5 * logvar).exp() * noise
    height = -0.5 * logvar  # of ln q at its mean, without the ln(2 pi)/2 that cancels
    own = torch.addcmul(height, noise, noise, value=-0.5)
    mixed = torch.empty_like(own)  # ln sum_m q(z_nd|x_m)
    mixed_jointly = torch.empty_like(own[0])
    latents, count = mu.shape
    for start in range(0, count, ROWS):
        if check is not None:
            check()
        rows = slice(start, start + ROWS)
        joint = mu.new_zeros(len(mixed_jointly[rows]), count)
        for d in range(latents):
            # z - mu, with the means' difference first: 0 for an image's own, however narrow.
            away = (mu[d, rows, None] - mu[d]).add_(drawn[d, rows, None]).mul_(precision[d])
            log_density = torch.addcmul(height[d], away, away, value=-0.5)
            joint += log_density
            mixed[d, rows] = log_density.logsumexp(dim=1)
        mixed_jointly[rows] = joint.logsumexp(dim=1)
    bound = math.log(count)
    return (own.sum(dim=0) - mixed_jointly).mean() + bound, (own - mixed).mean(dim=1) + bound


def mmd(z: Tensor, check: Callable[[], None] | None = None) -> float:
    """MMD^2 of the distribution of latents z [N, Z] and the prior N(0, I); dimensionless.

    Under the Gaussian kernel k(z, z') = exp(-|z - z'|^2 / (2 Z)): 2 Z is the mean squared distance
    of two draws of the prior, which WAE-MMD scales its kernels by (Tolstikhin et al. 2018). The
    prior's side is exact, where WAE's inverse multiquadratics would need draws of it:

        E_p k(z, .) = (1 + 1/Z)^(-Z/2) exp(-|z|^2 / (2 (Z + 1))),    E_pp k = (1 + 2/Z)^(-Z/2)

    The mean of k over pairs of different images, less twice that of E_p k, plus E_pp k, is the
    unbiased estimate (Gretton et al. 2012, lemma 6): 0 on average where the two are one
    distribution, so it may be negative. Compare at one Z only.

    Args:
        z: a posterior sample of each image, float64, finite, N >= 2.
        check: called regularly; may raise to interrupt.
    """
    n, latents = z.shape
    within = 0.0
    for start in range(0, n, ROWS):
        if check is not None:
            check()
        # No matrix product: |z|^2 + |z'|^2 - 2 z.z' loses what is small beside |z|^2.
        apart = torch.cdist(
            z[start : start + ROWS], z[start:], compute_mode="donot_use_mm_for_euclid_dist"
        )
        within += float((apart.square() / (-2 * latents)).exp().triu(1).sum())
    towards = (z.square().sum(dim=1) / (-2 * (latents + 1))).exp().mean()
    across = float(towards) * math.pow(1 + 1 / latents, -latents / 2)
    between = math.pow(1 + 2 / latents, -latents / 2)
    return 2 * within / (n * (n - 1)) - 2 * across + between


def effective(kl: Tensor) -> float:
    """How many latents share R evenly, from the KL of every latent [Z], finite.

    The perplexity exp(-sum_d s_d ln s_d) of the shares s_d = KL_d / R: k if k latents carry the
    same and the others nothing; without a threshold, unlike the number of active units. 0 if R
    is 0.
    """
    parts = kl.clamp_min(0)  # rounding may leave the least of them below
    total = parts.sum()
    return float(torch.special.entr(parts / total).sum().exp()) if total > 0 else 0.0
