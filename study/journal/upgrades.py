"""What an event's line of an older format says in the format after it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from study.metrics import FORMER_NAMES, present_names

Data = Mapping[str, Any]


def upgraded(kind: str, data: Data, format: int) -> Data:
    """The ``data`` of a line of ``kind``, of ``format``, as the newest format has it."""
    for upgrade in UPGRADES[format - 1 :]:
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
    """In format 2 all arms trained on the same seeds, and balancers' rates were constants.

    Test images were measured with one draw of latents, and a tie was inside.
    """
    if kind == "study":
        arms = data["spec"].get("arms", {})
        of_arms = {name: {"balancer": _constants(arm)} for name, arm in arms.items()}
        assumed: Data = {"evaluation": {"draws": 1}, "arms": of_arms}
        spec = filled(data["spec"], assumed)
        return {**data, "design": "same_seeds", "spec": spec, "assumed": assumed}
    if kind == "trial" and "balancer" in data["settings"]:
        balancer = data["settings"]["balancer"]
        constants = BALANCER_CONSTANTS.get(balancer["name"], {})
        settings = {**data["settings"], "balancer": {**balancer, **constants, **balancer}}
        return {**data, "settings": settings}
    if kind == "engine" and data.get("features"):
        ties = {"ties_of_precision_and_recall": "inside"}
        features = {name: {**about, **ties} for name, about in data["features"].items()}
        return {**data, "features": features}
    return data


def _from_format_3(kind: str, data: Data) -> Data:
    """Format 3 called the two negative ELBOs ELBOs."""
    if kind == "study" and (objective := data["spec"].get("objective")) in FORMER_NAMES:
        return {**data, "spec": {**data["spec"], "objective": FORMER_NAMES[objective]}}
    if kind in ("report", "end") and "metrics" in data:
        return {**data, "metrics": present_names(data["metrics"])}
    return data


def _from_format_4(kind: str, data: Data) -> Data:
    """In format 4 every engine saw the home, and its host was not recorded."""
    return data


def _constants(arm: Data) -> Data:
    """The constants that format 2 had for what the arm neither sets nor searches."""
    set_here = {*arm["balancer"], *(arm.get("search") or {}).get("space", {})}
    constants = BALANCER_CONSTANTS.get(arm["balancer"]["name"], {})
    return {key: value for key, value in constants.items() if key not in set_here}


def filled(data: Data, more: Data) -> Data:
    """``data`` with what ``more`` has beside it, section by section."""
    sections = [key for key in more if isinstance(data.get(key), Mapping)]
    return {**more, **data, **{key: filled(data[key], more[key]) for key in sections}}


BALANCER_CONSTANTS: Mapping[str, Data] = {
    "learned_sigma": {"sigma_lr": 1e-3},
    "laplace_scale": {"scale_lr": 2.5e-4},
    "running_average": {"decay": 0.99},
    "running_minimum": {"decay": 0.99},
    "optimal_sigma": {"log_sigma_min": -6.0},
    "per_image_sigma": {"log_sigma_min": -6.0},
}
"""By balancer, the defaults of formats 1 and 2 that are others, or derived, since format 3."""


UPGRADES: tuple[Callable[[str, Data], Data], ...] = (
    _from_format_1,
    _from_format_2,
    _from_format_3,
    _from_format_4,
)
"""From format 1 to 2, from 2 to 3, ...: each makes a line's data what the next format has."""
