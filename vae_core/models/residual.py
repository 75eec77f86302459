"""`residual`: the network of Dai & Wipf 2019 and Asperti & Trentin 2020, for 32 and 64 pixels.

Both papers' released code (TwoStageVAE's and BalancingVAE's ``Resnet``, read) builds the same one,
with their settings as defaults here: 5,190,467 parameters for 3x32x32 (encoder 1,135,840, decoder
4,054,627), 19,321,667 for 3x64x64 (3,333,344 and 15,988,323), at 64 latents.

As released: weights start as Glorot & Bengio 2010 with zero biases, the encoder gives ln sd (so
logvar = 2 ln sd) without a bound, means go through a sigmoid, images go in as they are in [0, 1].
Paddings are the mirror image of theirs (:mod:`vae_core.models.layers`). Running variances are
torch's unbiased ones, theirs biased: 1 + 1/(B H W) apart. Their weight penalty is not here: it was
built, but never added to the loss.
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

_WIDEST = 1024
"""Channels of the decoder double towards its 2x2 map, up to this many."""


class Residual(VAE):
    """Residual blocks at every scale, halvings and doublings by strided convolutions between.

    The encoder keeps halving down to 8x8 (3 scales for 32 pixels, 4 for 64: the published
    ``num_scale``), averages over the map, then two dense layers with a shortcut. The decoder starts
    from a 2x2 map. ``width`` channels at full size, twice as many after each halving.

    Evaluation uses running statistics. With the published decay of 0.999 they still hold
    0.999^n of their start (mean 0, variance 1) after n steps: 37 % after 1,000, 1 % after 4,600.
    Reports before that describe a network whose normalisation lags behind; lower the decay (0.9
    holds 1 % after 44) if trials are short or their first reports matter, to a pruner for one.

    Args:
        shape: the images' shape, squares with a side of 8, 16, 32, ...
        latent: latent size; 64 as published.
        width: channels at full size.
        dense: units of the encoder's two dense layers.
        bn_decay: decay of the normalisations' running statistics, in [0, 1).
        head: what the decoder predicts a noise variance for.
    """

    heads = frozenset[Head]({"image", "pixel"})
    channels_last = True

    def __init__(
        self,
        shape: ImageShape,
        latent: int,
        width: int = 32,
        dense: int = 512,
        bn_decay: float = 0.999,
        head: Head | None = None,
    ) -> None:
        super().__init__(shape, latent, head)
        positive_int("width", width)
        positive_int("dense", dense)
        side = shape.height
        if shape.width != side or side < 8 or side & (side - 1):
            raise ContractError(
                f"model 'residual' does not take images of {shape} (channels x height x width)",
                where="model.name",
                remedy="it takes squares with a side of 8, 16, 32, 64, ...; "
                "use 'wae' or 'conv' for 28 pixels, 'mlp' for others",
            )
        scales = side.bit_length() - 3
        down = [width * 2**i for i in range(scales)]
        self.encoder = nn.Sequential(
            GlorotConv(shape.channels, width),
            _Block(width, bn_decay),
            *(
                layer
                for outer, inner in pairwise(down)
                for layer in (GlorotHalve(outer, inner, 3), _Block(inner, bn_decay))
            ),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            _DenseBlock(down[-1], dense),
        )
        self.mu = GlorotLinear(dense, latent)
        self.logsd = GlorotLinear(dense, latent)
        up = [min(width * 2**i, _WIDEST) for i in range(scales + 2)][::-1]
        self.decoder = nn.Sequential(
            GlorotLinear(latent, up[0] * 2 * 2),
            nn.Unflatten(1, (up[0], 2, 2)),
            *(
                layer
                for inner, outer in pairwise(up)
                for layer in (GlorotDouble(inner, outer, 3), _Block(outer, bn_decay))
            ),
        )
        self.mean = nn.Sequential(GlorotConv(up[-1], shape.channels), Sigmoid())
        if head == "image":
            self.spread: nn.Module = ImageHead(up[-1])
        elif head == "pixel":
            self.spread = PixelHead(PixelConv(up[-1], shape.channels))

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Posterior mean and log variance [B, Z] of images [B, C, H, W]."""
        features = self.encoder(x)
        return self.mu(features), 2 * self.logsd(features)

    def decode(self, z: Tensor) -> Tensor:
        """Means in (0, 1) of the images [B, C, H, W] of latents [B, Z]."""
        xhat: Tensor = self.mean(self.decoder(z))
        return xhat

    def decode_spread(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Means, and the ln variance the head reads from the features before the last layer."""
        features = self.decoder(z)
        return self.mean(features), self.spread(features)


class _Block(nn.Module):
    """Twice normalisation, ReLU and a convolution, plus a convolution of the input."""

    def __init__(self, channels: int, bn_decay: float) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(2):
            layers += [normalisation(channels, bn_decay), nn.ReLU(inplace=True)]
            layers += [GlorotConv(channels, channels)]
        self.layers = nn.Sequential(*layers)
        self.shortcut = GlorotConv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x) + self.shortcut(x)
        return y


class _DenseBlock(nn.Module):
    """Twice ReLU and a dense layer, plus a dense layer of the input."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.ReLU(), GlorotLinear(inputs, outputs), nn.ReLU(), GlorotLinear(outputs, outputs)
        )
        self.shortcut = GlorotLinear(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x) + self.shortcut(x)
        return y
