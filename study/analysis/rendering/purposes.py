"""What device seconds are spent on, as readers see it."""

from __future__ import annotations

_NAMES = {
    "second_stage": "second stage",
    "startup": "start-up",
    "pilot": "pilots",
    "idle_slots": "idle slots",
    "waiting": "idle engines",
}


def purpose_name(purpose: str) -> str:
    """``purpose`` as tables and figures name it."""
    return _NAMES.get(purpose, purpose)
