"""Layers with He weights and zero biases.

Torch's own layers draw biases from a range that depends on the fan-in, so two biases of equal name
and shape would start unequal beside layers of other sizes. Zero biases keep such parameters paired.
"""

from __future__ import annotations

import math

from torch import Tensor, nn


class Linear(nn.Linear):
    """``nn.Linear`` started as He et al. 2015."""

    def reset_parameters(self) -> None:
        """Draw the weights, zero the biases."""
        _he(self.weight, self.bias, fan_in=self.in_features)


class Halve(nn.Conv2d):
    """A 4x4 convolution of stride 2: [B, C_in, H, W] -> [B, C_out, H/2, W/2]."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, kernel_size=4, stride=2, padding=1)

    def reset_parameters(self) -> None:
        """Draw the weights, zero the biases."""
        _he(self.weight, self.bias, fan_in=self.in_channels * 16)


class Double(nn.ConvTranspose2d):
    """A 4x4 transposed convolution of stride 2: [B, C_in, H, W] -> [B, C_out, 2H, 2W]."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, kernel_size=4, stride=2, padding=1)

    def reset_parameters(self) -> None:
        """Draw the weights, zero the biases."""
        # A stride of 2 spreads the 16 taps over 4 output pixels: each sees 4 of every channel.
        _he(self.weight, self.bias, fan_in=self.in_channels * 4)


def _he(weight: Tensor, bias: Tensor | None, *, fan_in: int) -> None:
    nn.init.normal_(weight, std=math.sqrt(2.0 / fan_in))
    if bias is not None:
        nn.init.zeros_(bias)
