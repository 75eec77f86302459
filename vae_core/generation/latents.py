"""Images to latents and back: posteriors, reconstructions, decoded latents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from vae_core.batches import TrainingImages, to_unit
from vae_core.errors import UserError
from vae_core.geometry import ImageShape
from vae_core.models.contract import VAE, evaluating
from vae_core.randomness import reseeded

if TYPE_CHECKING:  # evaluation draws pictures of samples, so it imports this package
    from vae_core.evaluation.likelihood import Batch

BLOCK = 256
"""Latents drawn, and decoded, at a time. A constant: another one is another noise."""


class Posteriors(NamedTuple):
    """Gaussian posteriors q(z|x) of N images, on the model's device."""

    mu: Tensor
    """[N, Z]"""
    logvar: Tensor
    """[N, Z]"""

    def require_finite(self, purpose: str) -> None:
        """Check that every mean and variance is a finite number.

        Raises:
            UserError: one is not, so that nothing can be fitted for ``purpose``.
        """
        if not bool(self.mu.isfinite().all() and self.logvar.exp().isfinite().all()):
            raise UserError(
                f"no {purpose} can be fitted: the model's posteriors are not all finite",
                remedy="the model has diverged: lower its learning rate",
            )


def posteriors(model: VAE, batches: Iterable[Batch | Tensor]) -> Posteriors:
    """Posteriors of all images of ``batches``, in order.

    Args:
        model: whose encoder is used, in evaluation mode.
        batches: an evaluation set's batches, or bare images [B, C, H, W] such as
            :func:`training_images` gives.
    """
    with evaluating(model):
        encoded = [model.encode(b if isinstance(b, Tensor) else b.x) for b in batches]
    return Posteriors(*(torch.cat(part) for part in zip(*encoded, strict=True)))


def training_images(images: TrainingImages, shape: ImageShape) -> Iterator[Tensor]:
    """All training images in order, [at most 256, C, H, W] at a time, at their bins' midpoints."""
    index = images.index.to(images.device)
    for start in range(0, len(index), BLOCK):
        yield to_unit(images.pixels[index[start : start + BLOCK]]).view(-1, *shape.chw)


def reconstruct(model: VAE, batches: Iterable[Batch]) -> Tensor:
    """Decoder means [N, C, H, W] of one posterior sample of each image, under the batches' noise.

    This is what both papers' REC scores: the released code of Dai & Wipf 2019 and of Asperti &
    Trentin 2020 decodes z = mu + sd * eps at test time too (as does that of RAE for its VAEs).
    Asperti & Trentin's code then rescales the reconstructions about their mean image to the
    test images' standard deviation, which uses the images to be matched and is not done here.
    """
    with evaluating(model):
        return torch.cat([model(batch.x, batch.noise).xhat for batch in batches])


def decode_all(model: VAE, z: Tensor) -> Tensor:
    """Decoder means [n, C, H, W] of latents z [n, Z], n >= 1, on the model's device."""
    device = next(model.parameters()).device
    with evaluating(model):
        return torch.cat([model.decode(block.to(device)) for block in torch.split(z, BLOCK)])


def normal(count: int, size: int, seed: int, *names: str | int) -> Tensor:
    """Standard normal [count, size] on the CPU; row i depends on (seed, names, size, i) only."""
    generator = torch.Generator()
    blocks = [
        torch.randn(BLOCK, size, generator=reseeded(generator, seed, *names, block))
        for block in range(-(-count // BLOCK))
    ]
    return torch.cat(blocks)[:count]
