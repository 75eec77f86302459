"""What a network that turns images into features must keep."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from vae_core.batches import LEVELS


class Features(Protocol):
    """Features of images: a deterministic function, the same whatever the batch around an image."""

    @property
    def name(self) -> str:
        """What numbers computed from these features are named after."""

    def describe(self) -> dict[str, str | int | float]:
        """What to record beside such a number: network, its SHA-256, preprocessing, ``dims``."""

    def __call__(self, x: Tensor) -> Tensor:
        """Features [n, F] in float32 of images x [n, C, H, W] in [0, 1], on the device of x."""


def as_bytes(x: Tensor) -> Tensor:
    """Images in [0, 1] as the bytes floor(256 x), clipped to [0, 255].

    Dequantised images (v + u)/256 become the bytes v they came from, and what a decoder makes is
    rounded as an image file would be, so that no network can tell the two by their grain.
    """
    return (x * LEVELS).floor().clamp(0, LEVELS - 1).to(torch.uint8)


def in_blocks(
    network: Callable[[Tensor], Tensor], x: Tensor, size: int, device: torch.device
) -> Tensor:
    """``network`` of the bytes of images x [n, C, H, W], n >= 1, at most ``size`` at a time.

    The network runs on ``device``; the features [n, F] are on x's device.
    """
    with torch.no_grad():
        blocks = [
            network(as_bytes(x[start : start + size].to(device)))
            for start in range(0, len(x), size)
        ]
    return torch.cat(blocks).to(x.device)
