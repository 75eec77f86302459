"""`wae`: the convolutional network of Tolstikhin et al. 2018 and Ghosh et al. 2020.

What comes from where (their released code, read; section "network" of neither paper says all):

- 28 pixels: Tolstikhin et al.'s for MNIST. 4x4 kernels, 28-14-7-4-2 down, 7x7-14-28 up.
- 32 pixels: Ghosh et al.'s for CIFAR-10, and for MNIST, which they enlarge to 32. 4x4 kernels.
- 64 pixels: both for CelebA. 5x5 kernels, 64-32-16-8-4 down, 8x8-16-32-64 up.
- Both: 128, 256, 512, 1024 channels down, each a convolution of stride 2, normalisation, ReLU;
  one dense layer to the latents and one to 1024 channels; transposed convolutions of stride 2 to
  512, 256 (and for 64 pixels 128) channels, normalisation, ReLU; a last one of stride 1, sigmoid.
- Tolstikhin et al.: the ReLU after the decoder's dense layer (Ghosh et al. have none), eps 1e-5 and
  decay 0.9 of the normalisations (Ghosh et al.: Keras's 1e-3 and 0.99).
- Ghosh et al.: Glorot weights (Tolstikhin et al.: Gaussian ones of sd 0.01), sigmoid at all sizes
  (Tolstikhin et al. use tanh for 64 pixels in [-1, 1]).
- Neither: images are not rescaled from [0, 1], which the first normalisation compensates except at
  the borders; the log variance has no bound (Ghosh et al.'s VAE: ln sd = 5 tanh).

Dai & Wipf 2019's version of it differs again (their first layer does not halve).
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from vae_core.errors import ContractError
from vae_core.geometry import ImageShape
from vae_core.models.contract import VAE, Head, positive_int
from vae_core.models.heads import ImageHead, PixelConv, PixelHead
from vae_core.models.layers import (
    GlorotConv,
    GlorotDouble,
    GlorotHalve,
    GlorotLinear,
    Sigmoid,
    normalisation,
)

_KERNEL = {28: 4, 32: 4, 64: 5}
_DOUBLINGS = {28: 2, 32: 2, 64: 3}


class Wae(VAE):
    """Four halvings, one dense layer each way, two or three doublings.

    Args:
        shape: the images' shape: 28, 32 or 64 pixels squared.
        latent: latent size; published: 8 and 16 (MNIST), 128 (CIFAR-10), 64 (CelebA).
        width: channels after the first halving, twice as many after each next.
        bn_decay: decay of the normalisations' running statistics, in [0, 1).
        head: what the decoder predicts a noise variance for.
    """

    heads = frozenset[Head]({"image", "pixel"})
    channels_last = True

    def __init__(
        self,
        shape: ImageShape,
        latent: int,
        width: int = 128,
        bn_decay: float = 0.9,
        head: Head | None = None,
    ) -> None:
        super().__init__(shape, latent, head)
        positive_int("width", width)
        side = shape.height
        if shape.width != side or side not in _KERNEL:
            raise ContractError(
                f"model 'wae' does not take images of {shape} (channels x height x width)",
                where="model.name",
                remedy="it takes 28, 32 or 64 pixels squared; use 'mlp' for others",
            )
        kernel = _KERNEL[side]
        channels = [shape.channels, *(width * 2**i for i in range(4))]
        down: list[nn.Module] = []
        for outer, inner in pairwise(channels):
            down += [GlorotHalve(outer, inner, kernel, odd=side % 2 == 1)]
            down += [normalisation(inner, bn_decay), nn.ReLU(inplace=True)]
            side = (side + 1) // 2
        widest, doublings = channels[-1], _DOUBLINGS[shape.height]
        self.encoder = nn.Sequential(
            *down, nn.Flatten(), GlorotLinear(widest * side**2, 2 * latent)
        )
        first = shape.height >> doublings
        up: list[nn.Module] = []
        for inner, outer in pairwise([widest >> i for i in range(doublings + 1)]):
            up += [GlorotDouble(inner, outer, kernel)]
            up += [normalisation(outer, bn_decay), nn.ReLU(inplace=True)]
        self.decoder = nn.Sequential(
            GlorotLinear(latent, widest * first**2),
            nn.ReLU(inplace=True),
            nn.Unflatten(1, (widest, first, first)),
            *up,
        )
        # A transposed convolution of stride 1 is a convolution with the kernel flipped.
        self.mean = nn.Sequential(
            GlorotConv(widest >> doublings, shape.channels, kernel), Sigmoid()
        )
        if head == "image":
            self.spread: nn.Module = ImageHead(widest >> doublings)
        elif head == "pixel":
            self.spread = PixelHead(PixelConv(widest >> doublings, shape.channels, kernel))

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Posterior mean and log variance [B, Z] of images [B, C, H, W]."""
        mu, logvar = self.encoder(x).chunk(2, dim=1)
        return mu, logvar

    def decode(self, z: Tensor) -> Tensor:
        """Means in (0, 1) of the images [B, C, H, W] of latents [B, Z]."""
        xhat: Tensor = self.mean(self.decoder(z))
        return xhat

    def decode_spread(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Means, and the ln variance the head reads from the features before the last layer."""
        features = self.decoder(z)
        return self.mean(features), self.spread(features)
