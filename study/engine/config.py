"""What an engine is made with. Light: the scheduler imports it, and torch must not come with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vae_core.precision import Precision

CLEARLY = 1.15
"""How many times as fast a wider bank must be: less may be noise, and is not worth its memory."""


@dataclass(frozen=True)
class EngineConfig:
    """What an engine is made with."""

    name: str
    home: str
    """The study's folder, on storage that every node sees."""
    device: str
    evaluation: Mapping[str, Any]
    """The spec's section."""
    objective: str
    epoch: int
    """The lease epoch of its driver: once a driver holds a higher one, it may not write."""
    keep: str
    """Checkpoints that stay while a trial runs: ``all``, else the last two."""
    weights: str | None
    """The file of the Inception network's weights, if the study uses its features."""
    precision: Precision = "float32"
    """Of matrix products and convolutions in training."""
