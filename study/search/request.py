"""What an engine is asked to train."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Request:
    """A trial to be trained by an engine, from its newest checkpoint if it has one."""

    trial: str
    phase: str
    seed: int
    settings: dict[str, dict[str, Any]]
    """``model``, ``training`` and ``balancer``, resolved."""
    after: int
    """The last report that is in the journal; 0 before the first."""
    until: int | None
    """Report after which the engine releases the trial, for a decision; None: train to the end."""
    alone: bool
    """It is suspected of taking engines down: no other trial may share one with it."""
    course: Mapping[str, Any]
    """Where settings change on the way, how (:class:`study.journal.course.Course`); else empty."""
