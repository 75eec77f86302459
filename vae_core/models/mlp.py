"""`mlp`: fully connected encoder and decoder, for images of any size."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from vae_core.geometry import ImageShape
from vae_core.models.contract import VAE, Head, positive_int
from vae_core.models.heads import ImageHead, PixelHead, PixelLinear
from vae_core.models.layers import Linear, Sigmoid


class MLP(VAE):
    """``depth`` hidden layers of ``width`` ReLUs on each side, sigmoid output."""

    heads = frozenset[Head]({"image", "pixel"})

    def __init__(
        self,
        shape: ImageShape,
        latent: int,
        width: int = 256,
        depth: int = 2,
        head: Head | None = None,
    ) -> None:
        super().__init__(shape, latent, head)
        positive_int("width", width)
        positive_int("depth", depth)
        hidden = [width] * depth
        self.encoder = nn.Sequential(nn.Flatten(), *_layers([shape.dims, *hidden, 2 * latent]))
        self.decoder = nn.Sequential(
            *_layers([latent, *hidden, shape.dims]), Sigmoid(), nn.Unflatten(1, shape.chw)
        )
        if head == "image":
            self.spread: nn.Module = ImageHead(width)
        elif head == "pixel":
            self.spread = PixelHead(PixelLinear(width, shape.dims), nn.Unflatten(1, shape.chw))

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Posterior mean and log variance [B, Z] of images [B, C, H, W]."""
        mu, logvar = self.encoder(x).chunk(2, dim=1)
        return mu, logvar

    def decode(self, z: Tensor) -> Tensor:
        """Means in (0, 1) of the images [B, C, H, W] of latents [B, Z]."""
        xhat: Tensor = self.decoder(z)
        return xhat

    def decode_spread(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Means, and the ln variance the head reads from the last hidden layer."""
        features = self.decoder[:-3](z)
        return self.decoder[-3:](features), self.spread(features)


def _layers(sizes: list[int]) -> list[nn.Module]:
    """Linear layers between consecutive sizes, a ReLU after all but the last."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [Linear(inputs, outputs), nn.ReLU(inplace=True)]
    return layers[:-1]
