"""How smoothly the decoder turns one image into another along straight lines between latents."""

from __future__ import annotations

import torch
from torch import Tensor

from vae_core.errors import UserError
from vae_core.generation.latents import BLOCK, decode_all
from vae_core.models.contract import VAE
from vae_core.randomness import reseeded

PAIRS = 256
"""Number of lines whose median is taken."""

STEPS = 16
"""T, the steps of a line. The number depends on it: compare at equal T only."""


def pairs(count: int, wanted: int) -> tuple[Tensor, Tensor]:
    """Rows (first, second), int64 [min(wanted, count)] each, of ``count`` >= 2 images.

    The pairs are neighbours on one fixed random circle through all images, every other edge of it
    first: they are the same for every model, no image is used more than twice, and none is used
    twice by the first ``count`` // 2 pairs.

    Raises:
        UserError: one image makes no pair.
    """
    if count < 2:
        raise UserError(
            f"no line can be drawn between {count} image(s)",
            where="evaluation.images",
            remedy="give at least 2",
        )
    circle = torch.randperm(count, generator=reseeded(torch.Generator(), 0, "pairs", count))
    edges = torch.cat([torch.arange(0, count, 2), torch.arange(1, count, 2)])[:wanted]
    return circle[edges], circle[(edges + 1) % count]


def lines(latents: Tensor, wanted: int, steps: int) -> Tensor:
    """Points [P, steps + 1, Z], evenly spaced on straight lines between fixed pairs of rows.

    Args:
        latents: posterior means [N, Z] of held-out images, N >= 2.
        wanted: lines; P is this or N, the lesser.
        steps: T; both ends are included.
    """
    first, second = (latents[rows.to(latents.device)] for rows in pairs(len(latents), wanted))
    t = torch.linspace(0, 1, steps + 1, device=latents.device)[:, None]
    return torch.lerp(first[:, None], second[:, None], t)


def smoothness(model: VAE, latents: Tensor, *, wanted: int = PAIRS, steps: int = STEPS) -> float:
    """The energy of decoded straight lines, against that of an even cross-fade; 1 is smoothest.

    With images x_0 ... x_T decoded at T + 1 even points of the line between two posterior means,

        T sum_t |x_{t+1} - x_t|^2 / |x_T - x_0|^2  >=  1

    by the Cauchy-Schwarz and triangle inequalities. It is the product of (path length / distance
    of the ends)^2, how much of a detour the images take, and of T sum |dx|^2 / (sum |dx|)^2, how
    uneven their pace is. A straight path at constant speed gives 1; one that stops and then
    jumps at once gives T. It is a discrete form of the curve energy by which geodesics of a
    decoder are found (Shao et al. 2018, arXiv 1711.08014), free of the scale of z and of x.

    It does not measure whether the images on the way look real. An even cross-fade of two images
    is smoothest of all, and a decoder that moves an object truly must take a detour in pixels. Read
    it beside the Frechet distance of :func:`midpoints`.

    The median over lines is returned. A ratio's mean would be ruled by the few pairs whose ends
    decode to almost the same image; pairs of exactly the same one are left out.

    Args:
        model: whose decoder is measured, in evaluation mode.
        latents: posterior means [N, Z] of held-out images, N >= 2.
        wanted: lines at most.
        steps: T.

    Returns:
        The median ratio, dimensionless; nan if any image is not finite or all are the same.
    """
    ratios = []
    for block in torch.split(lines(latents, wanted, steps), max(1, BLOCK // (steps + 1))):
        images = decode_all(model, block.flatten(0, 1)).double().view(*block.shape[:2], -1)
        energy = steps * images.diff(dim=1).square().sum((1, 2))
        ratios.append(energy / (images[:, -1] - images[:, 0]).square().sum(1))
        if not bool(images.isfinite().all()):
            return float("nan")
    return float(torch.cat(ratios).nanquantile(0.5))


def midpoints(model: VAE, latents: Tensor, count: int) -> Tensor:
    """Images [min(count, N), C, H, W] decoded halfway between pairs of posterior means [N, Z].

    For a Frechet distance of interpolations, as RAE's column "Interp." (Ghosh et al. 2020). Its
    released code scores the straight, the norm-preserving and the spherical mid-points of 10,000
    random pairs of validation images; these are the straight ones.
    """
    return decode_all(model, lines(latents, count, 2)[:, 1])
