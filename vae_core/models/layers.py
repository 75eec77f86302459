"""Layers that start with zero biases and weights that depend only on their own shape.

Torch's own layers draw biases from a range that depends on the fan-in, so two biases of equal name
and shape would start unequal beside layers of other sizes. Zero biases keep such parameters paired.

Strides and paddings mirror TensorFlow's "SAME", which most published networks use: where a side
cannot be padded evenly TensorFlow puts the odd pixel below and right, torch above and left. A
network of these layers on an image is TensorFlow's, with mirrored kernels, on the mirrored image.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from vae_core.errors import ContractError

VECTOR = 32
"""Values that torch's kernel for sigmoid takes at a time on a CPU, at most."""


class Sigmoid(nn.Module):
    """1 / (1 + exp(-x)), equal for equal values anywhere in memory.

    Torch's own kernel rounds the last (count mod 32) values of a tensor differently. In a bank
    these belong to the last row, whose numbers would depend on its place.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Values in (0, 1), float32, in the shape of x."""
        x = x.float()
        if x.numel() % VECTOR:
            # exp overflows from 89 on, and the gradient would be no number. 1e-35 is as good as 0.
            return torch.reciprocal(1 + torch.exp((-x).clamp(max=80)))
        return torch.sigmoid(x)


class Linear(nn.Linear):
    """``nn.Linear`` started as He et al. 2015."""

    def reset_parameters(self) -> None:
        """Draw the weights, zero the biases."""
        _he(self.weight, self.bias, fan_in=self.in_features)


class Halve(nn.Conv2d):
    """A convolution of stride 2: [B, C_in, H, W] -> [B, C_out, ceil(H/2), ceil(W/2)].

    Args:
        inputs: C_in.
        outputs: C_out.
        kernel: its side, 3 or more.
        odd: whether H and W are odd; with an even ``kernel`` they are then padded by one more.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int = 4, *, odd: bool = False) -> None:
        padding = (kernel if odd else kernel - 1) // 2
        super().__init__(inputs, outputs, kernel_size=kernel, stride=2, padding=padding)

    def reset_parameters(self) -> None:
        """Draw the weights as He et al. 2015, zero the biases."""
        _he(self.weight, self.bias, fan_in=self.in_channels * self.kernel_size[0] ** 2)


class Double(nn.ConvTranspose2d):
    """A transposed convolution of stride 2: [B, C_in, H, W] -> [B, C_out, 2H, 2W]."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 4) -> None:
        super().__init__(
            inputs,
            outputs,
            kernel_size=kernel,
            stride=2,
            padding=(kernel - 1) // 2,
            output_padding=kernel % 2,
        )

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """[B, C_in, H, W] -> [B, C_out, 2H, 2W]."""
        if self.out_channels > 1 or x.device.type != "cpu":
            return super().forward(x, output_size)
        # The kernel on a CPU works on 16 channels at a time, and one would take as long as 16.
        assert self.bias is not None
        taps = self.weight.flatten(1).t() @ x.flatten(2)
        size, side = (2 * x.shape[2], 2 * x.shape[3]), self.kernel_size[0]
        folded = nn.functional.fold(taps.float(), size, side, padding=(side - 1) // 2, stride=2)
        return folded + self.bias.view(1, 1, 1)

    def reset_parameters(self) -> None:
        """Draw the weights as He et al. 2015, zero the biases."""
        # A stride of 2 spreads the taps over 4 output pixels: each sees a fourth of them.
        _he(self.weight, self.bias, fan_in=self.in_channels * self.kernel_size[0] ** 2 / 4)


class GlorotLinear(nn.Linear):
    """``nn.Linear`` started as Glorot & Bengio 2010, TensorFlow's and Keras's default."""

    def reset_parameters(self) -> None:
        """Draw the weights, zero the biases."""
        _glorot(self.weight, self.bias)


class GlorotConv(nn.Conv2d):
    """A convolution of stride 1 that keeps height and width, started like :class:`GlorotLinear`.

    An even kernel is padded as in a transposed convolution, which decoders use in its place.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int = 3) -> None:
        super().__init__(inputs, outputs, kernel_size=kernel, padding=kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C_in, H, W] -> [B, C_out, H, W]."""
        y = super().forward(x)
        return y if self.kernel_size[0] % 2 else y[..., 1:, 1:]

    def reset_parameters(self) -> None:
        """Draw the weights, zero the biases."""
        _glorot(self.weight, self.bias)


class GlorotHalve(Halve):
    """:class:`Halve`, started like :class:`GlorotLinear`."""

    def reset_parameters(self) -> None:
        """Draw the weights, zero the biases."""
        _glorot(self.weight, self.bias)


class GlorotDouble(Double):
    """:class:`Double`, started like :class:`GlorotLinear`."""

    def reset_parameters(self) -> None:
        """Draw the weights, zero the biases."""
        _glorot(self.weight, self.bias)


def normalisation(channels: int, bn_decay: float) -> nn.BatchNorm2d:
    """Batch normalisation, eps 1e-5, whose running statistics keep ``bn_decay`` of the past a step.

    Raises:
        ContractError: ``bn_decay`` is no number in [0, 1).
    """
    number = isinstance(bn_decay, int | float) and not isinstance(bn_decay, bool)
    if not number or not 0 <= bn_decay < 1:
        raise ContractError(
            f"bn_decay is {bn_decay!r}", where="model.bn_decay", remedy="give a number in [0, 1)"
        )
    return nn.BatchNorm2d(channels, eps=1e-5, momentum=1 - bn_decay)


def _he(weight: Tensor, bias: Tensor | None, *, fan_in: float) -> None:
    nn.init.normal_(weight, std=math.sqrt(2.0 / fan_in))
    if bias is not None:
        nn.init.zeros_(bias)


def _glorot(weight: Tensor, bias: Tensor | None) -> None:
    nn.init.xavier_uniform_(weight)
    if bias is not None:
        nn.init.zeros_(bias)
