"""The contract of a model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from vae_core.errors import ContractError
from vae_core.geometry import ImageShape
from vae_core.likelihoods import negative_log_likelihood

Head = Literal["image", "pixel"]
"""What a decoder predicts a noise variance for: the image as a whole, or each pixel."""


class Reconstruction(NamedTuple):
    """One pass through a model: the likelihood's parameters and the posterior z was drawn from."""

    xhat: Tensor
    """[B, C, H, W]"""
    mu: Tensor
    """[B, Z]"""
    logvar: Tensor
    """[B, Z]"""
    log_sigma2: Tensor | None = None
    """ln of the noise variance the decoder predicts: [B, 1, 1, 1] with an image head,
    [B, C, H, W] with a pixel head; None without a head."""

    def nll(self, x: Tensor) -> Tensor:
        """-ln p(x | z) of images x [B, C, H, W] under the decoder's own head, [B], nats."""
        assert self.log_sigma2 is not None, "a model without a head predicts no variance"
        return negative_log_likelihood(x, self.xhat, self.log_sigma2)


class VAE(nn.Module, ABC):
    """A Gaussian encoder and a decoder of means, for images x in [0, 1].

    A subclass takes (shape, latent) and its own settings as keywords, calls
    ``super().__init__(shape, latent)`` and defines :meth:`encode` and :meth:`decode`. It draws no
    random numbers (noise is passed in, and :mod:`vae_core.models.dropout` makes torch's dropout
    layers stateless) and holds no noise variance: that is the balancer's, unless the balancer needs
    a decoder that predicts it. A model that can declares ``heads``, takes the keyword ``head``,
    passes it on to ``super().__init__`` and defines :meth:`decode_spread`;
    :mod:`vae_core.models.heads` has the layers. Decoder means need not be in [0, 1] (a
    Gaussian's mean may be anywhere; the built-in models' do, by a sigmoid), but must be finite. A
    Bernoulli likelihood takes no others than in [0, 1].
    :func:`vae_core.models.check_model` and :func:`vae_core.rehearsal.rehearse` state the rest of
    the contract, :class:`vae_core.models.Start` how a model starts.

    Attributes:
        heads: the heads it can be built with.
        channels_last: whether weights [C_out, C_in, H, W] may be stored channels last, which speeds
            convolutions up: their outputs then are too, and ``view`` may refuse to flatten them
            where ``reshape`` and ``nn.Flatten`` do not.
        head: the head it has; None: the balancer sets the noise variance.
    """

    heads: ClassVar[frozenset[Head]] = frozenset()
    channels_last: ClassVar[bool] = False

    def __init__(self, shape: ImageShape, latent: int, head: Head | None = None) -> None:
        super().__init__()
        self.shape = shape
        self.latent = positive_int("latent", latent)
        self.head = head

    @abstractmethod
    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Posterior mean and log variance [B, Z] of images [B, C, H, W]."""

    @abstractmethod
    def decode(self, z: Tensor) -> Tensor:
        """Means [B, C, H, W] of the images of latents [B, Z]."""

    def decode_spread(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Means, and ln of the noise variance the head predicts, of the images of z.

        The variance is [B, 1, 1, 1] with an image head and [B, C, H, W] with a pixel head.
        """
        raise NotImplementedError(f"{type(self).__name__} has no head")

    def forward(self, x: Tensor, noise: Tensor) -> Reconstruction:
        """Encode images [B, C, H, W], decode z = mu + exp(logvar/2) * noise, noise [B, Z].

        All in float32, even where the layers in between multiply in bfloat16.
        """
        mu, logvar = (value.float() for value in self.encode(x))
        return self.decode_draw(mu, logvar, noise)

    def decode_draw(self, mu: Tensor, logvar: Tensor, noise: Tensor) -> Reconstruction:
        """The second half of a pass: decode one draw from posteriors of float32."""
        z = torch.addcmul(mu, noise, (0.5 * logvar).exp())
        if self.head is None:
            return Reconstruction(self.decode(z).float(), mu, logvar)
        xhat, log_sigma2 = self.decode_spread(z)
        return Reconstruction(xhat.float(), mu, logvar, log_sigma2.float())


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
