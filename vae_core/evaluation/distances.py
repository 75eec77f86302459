"""Distances between two sets of images, in the features of a network.

All are computed in float64 on the features' device. Which number comes from which network is in
:meth:`vae_core.evaluation.features.Features.describe`; only the Frechet distance in Inception's
features is the FID.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from vae_core.errors import DataError
from vae_core.evaluation.features.contract import Features
from vae_core.randomness import reseeded

Ties = Literal["inside", "outside"]
"""Where an image lies that is as far from a ball's centre as the ball reaches."""

SUBSETS = 100
SUBSET_SIZE = 1000
"""Of the kernel distance (Binkowski et al. 2018)."""

ROWS = 1024
"""Rows of a matrix of distances held at a time."""

LEAST = 6
"""Fewest images of either set, so that each has five neighbours."""


@dataclass(frozen=True)
class Statistics:
    """First two moments of n features, float64."""

    mean: Tensor
    """[F]"""
    cov: Tensor
    """[F, F], with n - 1 in the denominator"""
    n: int

    @classmethod
    def of(cls, features: Tensor) -> Statistics:
        """The statistics of features [n, F], n >= 2."""
        values = features.double()
        mean = values.mean(dim=0)
        centred = values - mean
        return cls(mean, centred.T @ centred / (len(values) - 1), len(values))


class Reference(NamedTuple):
    """What images are compared with: features [n, F] of real ones, and their statistics."""

    features: Tensor
    statistics: Statistics


class Neighbourhoods(NamedTuple):
    """Membership of two sets of features in each other's balls."""

    precision: float
    """Share of fakes in the ball of some real."""
    recall: float
    """Share of reals in the ball of some fake."""
    density: float
    """Number of reals' balls that contain a fake, over k: about 1 for equal distributions."""
    coverage: float
    """Share of reals whose ball holds a fake."""


def frechet(a: Statistics, b: Statistics) -> float:
    """The squared Frechet distance of two Gaussians (Dowson & Landau 1982; Heusel et al. 2017).

    |m_a - m_b|^2 + Tr(C_a + C_b - 2 (C_a C_b)^(1/2)). With C = A A^T for both, the last trace is
    the sum of the singular values of A_a^T A_b: no root of a matrix that is not symmetric, and
    nothing imaginary to drop where a covariance is singular (n <= F). Statistics that are not
    finite give nan.

    The estimate from n images is biased upwards by about 1/n: compare at one n only.
    """
    if not all(values.isfinite().all() for values in (a.mean, a.cov, b.mean, b.cov)):
        return float("nan")
    cross = torch.linalg.svdvals(_factor(a).T @ _factor(b)).sum()
    distance = (a.mean - b.mean).square().sum() + a.cov.trace() + b.cov.trace() - 2 * cross
    return max(float(distance), 0.0)  # equal sets may round to below it


def kid(a: Tensor, b: Tensor, seed: int = 0) -> float:
    """The kernel distance of features a [n, F] and b [m, F] (Binkowski et al. 2018).

    The unbiased MMD^2 under the kernel (x.y/F + 1)^3, averaged over 100 pairs of random subsets
    of min(1000, n, m) images, drawn without replacement by ``seed``. Slightly negative
    values mean that the distributions are similar.
    """
    size = min(SUBSET_SIZE, len(a), len(b))
    generator = reseeded(torch.Generator(), seed, "kid")
    a, b = a.double(), b.double()
    in_a, in_b = (torch.zeros(SUBSETS, len(features), dtype=torch.double) for features in (a, b))
    for subset in range(SUBSETS):
        for members in (in_a, in_b):
            drawn = torch.randperm(members.shape[1], generator=generator)[:size]
            members[subset, drawn] = 1
    in_a, in_b = in_a.to(a.device), in_b.to(b.device)
    within = _off_diagonal(a, in_a) + _off_diagonal(b, in_b)
    return float((within / (size * (size - 1)) - 2 * _sums(a, b, in_a, in_b) / size**2).mean())


def neighbourhoods(
    real: Tensor, fake: Tensor, k: int = 3, k_density: int = 5, ties: Ties = "inside"
) -> Neighbourhoods:
    """Precision, recall, density and coverage of features real [n, F] and fake [m, F].

    Balls of precision and recall (Kynkaanniemi et al. 2019) reach to the ``k``-th nearest other
    member of the own set, those of density and coverage (Naeem et al. 2020) to the
    ``k_density``-th.

    Args:
        ties: Whether an image at a ball's very radius is ``inside`` it for precision and recall, as
            in their authors' code, or ``outside``, as in Naeem et al.'s package prdc. Duplicates
            make such ties. Density and coverage count it outside, as their authors do.
    """
    centre = real.double().mean(dim=0)  # less is lost in |x|^2 + |y|^2 - 2 x.y
    real, fake = real.double() - centre, fake.double() - centre
    near, open_ = _radii(real, (k, k_density))
    (reach,) = _radii(fake, (k,))
    within = torch.le if ties == "inside" else torch.lt
    inside = 0
    precise: list[Tensor] = []
    recalled, covered = torch.zeros(2, len(real), dtype=torch.bool, device=real.device)
    for start, block in _squared(fake, real):
        precise.append(within(block, near).any(dim=1))
        recalled |= within(block, reach[start : start + ROWS, None]).any(dim=0)
        hits = block < open_
        inside += int(hits.sum())
        covered |= hits.any(dim=0)
    return Neighbourhoods(
        precision=_share(torch.cat(precise)),
        recall=_share(recalled),
        density=inside / (k_density * len(fake)),
        coverage=_share(covered),
    )


def distances(
    features: Features,
    reference: Reference,
    fakes: Tensor | Iterable[Tensor],
    seed: int = 0,
    ties: Ties = "inside",
) -> dict[str, float]:
    """Every distance of images to ``reference``, by name, as ``features`` see them.

    Args:
        features: the network the reference was made with.
        reference: real images.
        fakes: images [m, C, H, W] in [0, 1], or batches of such; on any device.
        seed: draws the subsets of ``kid``.
        ties: of precision and recall; see :func:`neighbourhoods`.

    Returns:
        frechet, kid, precision, recall, density, coverage: all nan if an image is not finite.

    Raises:
        DataError: fewer than six images on either side.
    """
    batches = [fakes] if isinstance(fakes, Tensor) else fakes
    real = reference.features
    seen, finite = [], True
    for batch in batches:
        finite = finite and bool(batch.isfinite().all())
        seen.append(features(batch).to(real.device))
    fake = torch.cat(seen) if seen else real[:0]
    if min(len(real), len(fake)) < LEAST:
        raise DataError(
            f"{len(fake)} images against {len(real)} real ones",
            where="distances in features",
            remedy=f"they need at least {LEAST} on either side, and mean little below thousands",
        )
    if not finite:
        return dict.fromkeys(NAMES, float("nan"))
    return {
        "frechet": frechet(reference.statistics, Statistics.of(fake)),
        "kid": kid(real, fake, seed),
        **neighbourhoods(real, fake, ties=ties)._asdict(),
    }


NAMES = ("frechet", "kid", *Neighbourhoods._fields)
"""What :func:`distances` returns."""


def _factor(statistics: Statistics) -> Tensor:
    """A [F, min(F, n - 1)] with A A^T = cov.

    The covariance of n features has n - 1 directions: further eigenvalues are rounding errors, as
    are negative ones.
    """
    values, vectors = torch.linalg.eigh(statistics.cov)
    directions = min(len(values), statistics.n - 1)
    factor: Tensor = vectors[:, -directions:] * values[-directions:].clamp_min(0).sqrt()
    return factor


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    kernel: Tensor = (x @ y.T / x.shape[1] + 1) ** 3
    return kernel


def _sums(x: Tensor, y: Tensor, in_x: Tensor, in_y: Tensor) -> Tensor:
    """The kernel's sums [S] over all pairs of S subsets of x [n, F] and of y [m, F].

    Members are 1 in in_x [S, n] and in_y [S, m], others 0. The kernel of a pair is computed once,
    and not once for each subset that has it, unless most pairs are in no subset.
    """
    if len(x) * len(y) >= in_x.sum() * in_y[0].sum():
        subsets = zip(in_x.bool(), in_y.bool(), strict=True)
        return torch.stack([_kernel(x[of_x], y[of_y]).sum() for of_x, of_y in subsets])
    sums = torch.zeros_like(in_x[:, 0])
    blocks = zip(torch.split(x, ROWS), torch.split(in_x, ROWS, dim=1), strict=True)
    for rows, members in blocks:
        sums += (members @ _kernel(rows, y) * in_y).sum(dim=1)
    return sums


def _off_diagonal(x: Tensor, in_x: Tensor) -> Tensor:
    """The kernel's sums [S] over all pairs of two different rows of each subset of x."""
    diagonal = (x.square().mean(dim=1) + 1) ** 3
    return _sums(x, x, in_x, in_x) - in_x @ diagonal


def _squared(x: Tensor, y: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Squared distances of the rows of x [n, F] to those of y [m, F], in blocks [<= 1024, m].

    Each comes with the number of its first row.
    """
    norms = y.square().sum(dim=1)
    for start in range(0, len(x), ROWS):
        block = x[start : start + ROWS]
        squares = block.square().sum(dim=1, keepdim=True) + norms
        yield start, squares.addmm_(block, y.T, alpha=-2).clamp_(min=0)


def _radii(x: Tensor, ks: tuple[int, ...]) -> list[Tensor]:
    """The squared distances [n] of each row of x [n, F] to its k-th nearest other row, by k."""
    blocks = []
    for start, block in _squared(x, x):
        block.diagonal(start).fill_(torch.inf)
        blocks.append(block.topk(max(ks), dim=1, largest=False).values)
    nearest = torch.cat(blocks)
    return [nearest[:, k - 1] for k in ks]


def _share(hits: Tensor) -> float:
    return float(hits.double().mean())
