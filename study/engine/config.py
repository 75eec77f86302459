"""What an engine is made with. Light: the scheduler imports it, and torch must not come with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from study.engine.parts import Part
from vae_core.precision import Precision

CLEARLY = 1.15
"""How many times as fast a wider bank must be: less may be noise, and is not worth its memory."""


@dataclass(frozen=True)
class EngineConfig:
    """What an engine is made with."""

    name: str
    home: str
    """The study's folder on the driver's node."""
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
    parts: Mapping[Part, str] = field(default_factory=dict)
    """What the driver imported, with the digests of its code: where one is missing or has other
    code no engine starts, for trials would fail there, or have other numbers."""
    mark: str = ""
    """Of the launch, in the home (see :mod:`study.journal.marks`); empty: only one process uses
    the home."""
