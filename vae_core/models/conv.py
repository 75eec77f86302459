"""`conv`: strided convolutions, for 28, 32 and 64 pixels."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from vae_core.errors import ContractError
from vae_core.geometry import ImageShape
from vae_core.models.contract import VAE, Head, positive_int
from vae_core.models.heads import ImageHead, PixelDouble, PixelHead
from vae_core.models.layers import Double, Halve, Linear, Sigmoid

HALVINGS = {28: 2, 32: 3, 64: 4}
"""Halvings of each side the model takes: down to 7x7, 4x4 and 4x4."""


class Conv(VAE):
    """``width`` channels after the first halving, twice as many after each next; sigmoid output.

    The decoder mirrors the encoder: one linear layer, then as many doublings.
    """

    heads = frozenset[Head]({"image", "pixel"})
    channels_last = True

    def __init__(
        self, shape: ImageShape, latent: int, width: int = 32, head: Head | None = None
    ) -> None:
        super().__init__(shape, latent, head)
        positive_int("width", width)
        side = shape.height
        if shape.width != side or side not in HALVINGS or shape.channels not in (1, 3):
            raise ContractError(
                f"model 'conv' does not take images of {shape} (channels x height x width)",
                where="model.name",
                remedy="it takes 28, 32 or 64 pixels squared with 1 or 3 channels; "
                "use 'mlp' for others",
            )
        channels = [shape.channels, *(width * 2**i for i in range(HALVINGS[side]))]
        smallest = (channels[-1], side >> HALVINGS[side], side >> HALVINGS[side])
        features = smallest[0] * smallest[1] * smallest[2]
        down: list[nn.Module] = []
        up: list[nn.Module] = []
        for outer, inner in pairwise(channels):
            down += [Halve(outer, inner), nn.ReLU(inplace=True)]
            up = [nn.ReLU(inplace=True), Double(inner, outer), *up]
        # The innermost ReLUs see features flat: images have another layout in memory than their
        # gradients would, and traversing both at once is slow.
        down[-1:] = [nn.Flatten(), down[-1]]
        up[:1] = [up[0], nn.Unflatten(1, smallest)]
        self.encoder = nn.Sequential(*down, Linear(features, 2 * latent))
        self.decoder = nn.Sequential(Linear(latent, features), *up, Sigmoid())
        if head == "image":
            self.spread: nn.Module = ImageHead(width)
        elif head == "pixel":
            self.spread = PixelHead(PixelDouble(width, shape.channels))

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Posterior mean and log variance [B, Z] of images [B, C, H, W]."""
        mu, logvar = self.encoder(x).chunk(2, dim=1)
        return mu, logvar

    def decode(self, z: Tensor) -> Tensor:
        """Means in (0, 1) of the images [B, C, H, W] of latents [B, Z]."""
        xhat: Tensor = self.decoder(z)
        return xhat

    def decode_spread(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Means, and the ln variance the head reads from the features before the last doubling."""
        features = self.decoder[:-2](z)
        return self.decoder[-2:](features), self.spread(features)
