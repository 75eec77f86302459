"""Automatic arms whose balancers are not at their defaults: somebody chose these values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from study.spec.roles import departure


def departures(facts: Mapping[str, Any]) -> Iterator[str]:
    """A sentence for each arm of the compared pair that departs, and what that has cost.

    Where no pair was chosen, any automatic arm may be the compared one.

    Args:
        facts: What the tables' metadata says (:func:`study.analysis.records.tables.study_facts`).
    """
    pair, piloted = facts.get("pair"), facts.get("piloted") or {}
    for arm, role in (facts.get("roles") or {}).items():
        departs = role.get("departs")
        if not departs or (pair and arm not in (pair["hand"], pair["automatic"])):
            continue
        cost = "tuned outside this study, and its cost is not counted"
        if arm in piloted:
            cost = (
                f"chosen by {piloted[arm]['source']}, whose {piloted[arm]['images']:,} images are "
                "part of its cost to one model"
            )
        yield f"{arm} departs from its balancer's defaults: {departure(departs)}: {cost}."
