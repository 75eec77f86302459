"""What a model is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vae_core.errors import ContractError
from vae_core.geometry import ImageShape


class Reconstruction(NamedTuple):
    """One pass through a model: decoder means and the posterior they were drawn from."""

    xhat: Tensor
    """[B, C, H, W]"""
    mu: Tensor
    """[B, Z]"""
    logvar: Tensor
    """[B, Z]"""


class VAE(nn.Module, ABC):
    """A Gaussian encoder and a decoder of means, for images x in [0, 1].

    A subclass takes (shape, latent) and its own settings as keywords, calls
    ``super().__init__(shape, latent)`` and defines :meth:`encode` and :meth:`decode`. It holds no
    noise variance (that is the balancer's) and draws no random numbers (noise is passed in).
    Decoder means need not lie in [0, 1] (a Gaussian's mean may be anywhere; the built-in models'
    do, by a sigmoid), but must be finite. :func:`vae_core.models.check_model` states the rest of
    the contract.
    """

    def __init__(self, shape: ImageShape, latent: int) -> None:
        super().__init__()
        self.shape = shape
        self.latent = positive_int("latent", latent)

    @abstractmethod
    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Posterior mean and log variance [B, Z] of images [B, C, H, W]."""

    @abstractmethod
    def decode(self, z: Tensor) -> Tensor:
        """Means [B, C, H, W] of the images that latents [B, Z] stand for."""

    def forward(self, x: Tensor, noise: Tensor) -> Reconstruction:
        """Encode images [B, C, H, W], decode z = mu + exp(logvar/2) * noise, noise [B, Z]."""
        mu, logvar = self.encode(x)
        return Reconstruction(
            self.decode(torch.addcmul(mu, noise, (0.5 * logvar).exp())), mu, logvar
        )


def positive_int(key: str, value: Any) -> int:
    """``value``, if it is an integer of at least 1.

    Raises:
        ContractError: it is not; ``key`` is the model setting it came from.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return value
    raise ContractError(
        f"{key} is {value!r}", where=f"model.{key}", remedy="give an integer of at least 1"
    )


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Run ``model`` in evaluation mode and without gradients here, and restore its mode after."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)
