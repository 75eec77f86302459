"""Pictures from a model: samples, reconstructions, interpolations."""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import pad

from vae_core.evaluation.smoothness import lines
from vae_core.generation.latents import decode_all
from vae_core.generation.prior import sample_prior
from vae_core.likelihoods import LEVELS
from vae_core.models.contract import VAE, evaluating

COLUMNS = 8
TILE = 32
"""The smallest side, in pixels, of an enlarged tile (by a whole factor)."""
GAP = 2
"""White pixels around tiles."""


def grid(images: Tensor, columns: int = COLUMNS) -> Image.Image:
    """Images [n, C, H, W] in [0, 1], n >= 1 and C 1 or 3, as tiles, row by row.

    Small images are enlarged without smoothing. Values outside [0, 1] are clipped, nan is black.
    """
    n, channels, height, width = images.shape
    factor = max(1, -(-TILE // min(height, width)))
    tiles = (images.detach().float().cpu().nan_to_num(0.0) * LEVELS).clamp(0, LEVELS - 1).byte()
    tiles = tiles.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
    tiles = pad(tiles, (0, GAP, 0, GAP), value=LEVELS - 1)
    columns = min(columns, n)
    rows = -(-n // columns)
    empty = tiles.new_full((rows * columns - n, *tiles.shape[1:]), LEVELS - 1)
    sheet = torch.cat([tiles, empty]).view(rows, columns, *tiles.shape[1:])
    sheet = sheet.permute(2, 0, 3, 1, 4).flatten(3).flatten(1, 2)
    sheet = pad(sheet, (GAP, 0, GAP, 0), value=LEVELS - 1)
    pixels = sheet[0] if channels == 1 else sheet.permute(1, 2, 0)
    return Image.fromarray(pixels.contiguous().numpy())


def reconstructions(model: VAE, x: Tensor, columns: int = COLUMNS) -> Image.Image:
    """Images x [n, C, H, W] in rows, below each row the same images decoded from their mean."""
    with evaluating(model):
        xhat = model.decode(model.encode(x)[0])
    columns = min(columns, len(x))
    missing = -len(x) % columns
    empty = x.new_ones(missing, *x.shape[1:])
    pairs = [torch.cat([images, empty]).view(-1, columns, *x.shape[1:]) for images in (x, xhat)]
    return grid(torch.stack(pairs, dim=1).flatten(0, 2), columns)


def samples(model: VAE, count: int, seed: int) -> Image.Image:
    """A grid of ``count`` decoded draws from the prior."""
    return grid(sample_prior(model, count, seed))


def interpolations(
    model: VAE, latents: Tensor, rows: int = COLUMNS, columns: int = COLUMNS
) -> Image.Image:
    """One row a pair of images: decoded points, evenly spaced from one's latent to the other's.

    The pairs are the first ``rows`` of those whose smoothness is measured. ``latents`` are
    posterior means [N, Z], N >= 2; ``columns`` >= 2 counts both ends.
    """
    return grid(decode_all(model, lines(latents, rows, columns - 1).flatten(0, 1)), columns)
