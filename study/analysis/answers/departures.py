"""Arms with settings that somebody chose outside of the study.

Automatic arms whose balancers are not at their defaults, and hand-tuned arms that search nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from study.spec.roles import departure, searches


def departures(facts: Mapping[str, Any]) -> Iterator[str]:
    """A sentence for each such arm of the compared pair, and what that has cost.

    Where no pair is named or chosen, any arm may be the compared one.

    Args:
        facts: What the tables' metadata says (:func:`study.analysis.records.tables.study_facts`).
    """
    chosen, piloted = facts.get("pair") or {}, facts.get("piloted") or {}
    named = facts.get("spec", {}).get("primary") or {}
    compared = {*named.values(), *(chosen[key] for key in ("hand", "automatic") if chosen)}
    arms = facts.get("spec", {}).get("arms", {})
    for arm, role in (facts.get("roles") or {}).items():
        search = bool(arms.get(arm, {}).get("search"))
        departs = role.get("departs")
        given = role.get("hand_tuned") and not searches(role.get("why", ""), search=search)
        if not (departs or given) or (compared and arm not in compared):
            continue
        what = f"departs from its balancer's defaults: {departure(departs or [])}"
        cost = "tuned outside this study, and its cost is not counted"
        if given:
            what, cost = (
                "has a balance that was set by hand",
                "what choosing it took is not counted",
            )
        if arm in piloted:
            cost = (
                f"chosen by {piloted[arm]['source']}, whose {piloted[arm]['images']:,} images are "
                "part of its cost to one model"
            )
        yield f"{arm} {what}: {cost}."
