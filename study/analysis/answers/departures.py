"""Automatic arms whose balancers are not at their defaults: somebody chose these values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from study.spec.roles import departure


def departures(facts: Mapping[str, Any]) -> Iterator[str]:
    """A sentence for each arm of the compared pair that departs, and what that has cost.

    Where no pair is named or chosen, any automatic arm may be the compared one.

    Args:
        facts: What the tables' metadata says (:func:`study.analysis.records.tables.study_facts`).
    """
    chosen, piloted = facts.get("pair") or {}, facts.get("piloted") or {}
    named = facts.get("spec", {}).get("primary") or {}
    compared = {*named.values(), *(chosen[key] for key in ("hand", "automatic") if chosen)}
    for arm, role in (facts.get("roles") or {}).items():
        departs = role.get("departs")
        if not departs or (compared and arm not in compared):
            continue
        cost = "tuned outside this study, and its cost is not counted"
        if arm in piloted:
            cost = (
                f"chosen by {piloted[arm]['source']}, whose {piloted[arm]['images']:,} images are "
                "part of its cost to one model"
            )
        yield f"{arm} departs from its balancer's defaults: {departure(departs)}: {cost}."
