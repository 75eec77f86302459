"""What an event's line of an older format says in the format after it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Data = Mapping[str, Any]


def upgraded(kind: str, data: Data, format: int, to: int) -> Data:
    """The ``data`` of a line of ``kind``, of ``format``, as format ``to`` has it."""
    for upgrade in _UPGRADES[format - 1 : to - 1]:
        data = upgrade(kind, data)
    return data


def _from_format_1(kind: str, data: Data) -> Data:
    """Format 1 did not record which arms are hand-tuned: there, it went by their balancer."""
    if kind == "study":
        arms = data["spec"].get("arms", {})
        return {**data, "roles": {name: _role_in_format_1(arm) for name, arm in arms.items()}}
    return data


def _role_in_format_1(arm: Data) -> Data:
    searched = [key for key in ("beta", "k") if key in (arm.get("search") or {}).get("space", {})]
    by_hand = bool(searched) or arm["balancer"]["name"] == "fixed_beta"
    why = f"searches {searched[0]}" if searched else "sets beta"
    return {"hand_tuned": by_hand, "why": why if by_hand else ""}


def _from_format_2(kind: str, data: Data) -> Data:
    """In format 2 all arms trained on the same seeds, whichever pair was to be compared.

    Test images were measured with one draw of latents.
    """
    if kind == "study":
        evaluation = {"draws": 1, **data["spec"].get("evaluation", {})}
        spec = {**data["spec"], "evaluation": evaluation}
        return {**data, "design": "same_seeds", "spec": spec}
    return data


_UPGRADES: tuple[Callable[[str, Data], Data], ...] = (_from_format_1, _from_format_2)
"""From format 1 to 2, from 2 to 3, ...: each makes a line's data what the next format has."""
