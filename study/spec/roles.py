"""Which arms of a study are hand-tuned: declared by the spec, the balancer and its settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from study.spec.arms import ArmSpec
from study.spec.models import StudySpec

if TYPE_CHECKING:
    from vae_core.balancers import Balancer


_SETS = "sets "


def searches(why: str, *, search: bool) -> bool:
    """Whether a hand-tuned arm searches its balance, given why it is one and if it has a search.

    A search of other settings leaves the balance as it was given.
    """
    return search and not why.startswith(_SETS)


def arm_roles(spec: StudySpec) -> dict[str, dict[str, Any]]:
    """By arm, ``hand_tuned`` and ``why``: what makes it so, "" where it is automatic.

    An arm is what the spec declares it to be. Else it is hand-tuned if its balancer says so, or if
    it searches a hyperparameter that sets the trade-off itself (beta, k, a target).

    An automatic arm whose balancer is not left at its own defaults has ``departs`` too: a list of
    ``name``, ``value`` and, in words, ``default``. Somebody chose these values.

    Imports the core, and any balancer that the spec names by import path.
    """
    from vae_core.balancers import BALANCERS

    roles = {}
    for name, arm in spec.arms.items():
        family = BALANCERS.get(arm.balancer.name)
        roles[name] = _role(arm, family)
        departs = [*_departures(arm, family)]
        if departs and not roles[name]["hand_tuned"]:
            roles[name]["departs"] = departs
    return roles


def kept_roles(spec: StudySpec, known: Mapping[str, Any]) -> dict[str, Any]:
    """The roles ``known`` of arms of ``spec`` that have begun: defaults may be others since."""
    return {arm: role for arm, role in known.items() if arm in spec.arms}


def _role(arm: ArmSpec, family: type[Balancer]) -> dict[str, Any]:
    if arm.kind is not None:
        hand_tuned = arm.kind == "hand_tuned"
        return {"hand_tuned": hand_tuned, "why": "declared in the spec" if hand_tuned else ""}
    trade_offs = [key for key, found in family.hyperparameters.items() if found.trade_off]
    searched = [key for key in trade_offs if arm.search and key in arm.search.space]
    if searched:
        return {"hand_tuned": True, "why": f"searches {' and '.join(searched)}"}
    if not family.hand_tuned:
        return {"hand_tuned": False, "why": ""}
    given = [key for key in trade_offs if key in arm.balancer.extras] or trade_offs
    why = f"{_SETS}{' and '.join(given)}" if given else f"balancer {family.name} is hand-tuned"
    return {"hand_tuned": True, "why": why}


def _departures(arm: ArmSpec, family: type[Balancer]) -> Iterator[dict[str, Any]]:
    """The hyperparameters that the arm sets to another value than the balancer's default."""
    for name, declared in family.hyperparameters.items():
        value = arm.balancer.extras.get(name, declared.default)
        if value != declared.default:
            missing = "none" if declared.required else "derived"
            default = missing if declared.default is None else f"{declared.default:g}"
            yield {"name": name, "value": value, "default": default}


def departure(departs: Sequence[Mapping[str, Any]]) -> str:
    """What an arm departs in, in words: ``k = 2 (default 1), decay = 0.9 (default derived)``."""
    return ", ".join(f"{d['name']} = {d['value']:g} (default {d['default']})" for d in departs)
