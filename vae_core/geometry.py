"""The shape of an image, as every part of the core needs it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ImageShape:
    """Channels, height and width of an image, in this order (CHW)."""

    channels: int
    height: int
    width: int

    @property
    def dims(self) -> int:
        """D, the number of observed dimensions of one image: C * H * W."""
        return self.channels * self.height * self.width

    @property
    def chw(self) -> tuple[int, int, int]:
        """The shape as a tuple (C, H, W)."""
        return (self.channels, self.height, self.width)

    def __str__(self) -> str:
        return f"{self.channels}x{self.height}x{self.width}"
