"""Which arms of a study are hand-tuned: declared by the spec, the balancer and its settings."""

from __future__ import annotations

from typing import Any

from study.spec.arms import ArmSpec
from study.spec.models import StudySpec


def arm_roles(spec: StudySpec) -> dict[str, dict[str, Any]]:
    """By arm, ``hand_tuned`` and ``why``: what makes it so, "" where it is automatic.

    An arm is what the spec declares it to be. Else it is hand-tuned if its balancer says so, or if
    it searches a hyperparameter that sets the trade-off itself (beta, k, a target).

    Imports the core, and any balancer that the spec names by import path.
    """
    return {name: _role(arm) for name, arm in spec.arms.items()}


def _role(arm: ArmSpec) -> dict[str, Any]:
    from vae_core.balancers import BALANCERS

    if arm.kind is not None:
        hand_tuned = arm.kind == "hand_tuned"
        return {"hand_tuned": hand_tuned, "why": "declared in the spec" if hand_tuned else ""}
    family = BALANCERS.get(arm.balancer.name)
    trade_offs = [key for key, found in family.hyperparameters.items() if found.trade_off]
    searched = [key for key in trade_offs if arm.search and key in arm.search.space]
    if searched:
        return {"hand_tuned": True, "why": f"searches {' and '.join(searched)}"}
    if not family.hand_tuned:
        return {"hand_tuned": False, "why": ""}
    given = [key for key in trade_offs if key in arm.balancer.extras] or trade_offs
    why = f"sets {' and '.join(given)}" if given else f"balancer {family.name} is hand-tuned"
    return {"hand_tuned": True, "why": why}
