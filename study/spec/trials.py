"""A search's trials: how many, or as many as it takes to bound its break-even."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from study.spec.distributions import whole
from study.spec.errors import fault, shown
from study.statistics import FEWEST_BOUNDED
from vae_core.errors import nearest

MOST = 10_000
"""Trials that such a search may have."""
BATCH = 6
"""Trials that it adds at a time where it gives no batch: a break-even at 3 takes 23 or so."""
_KEYS = ("until", "at_most", "batch")


def read_until_bounded(search: Mapping[str, Any]) -> dict[str, Any]:
    """A ``search`` of ``trials: {until: bounded, at_most: 200, batch: 6}``, as its model has it.

    Raises:
        PydanticCustomError: a key or value of it is wrong; its path begins at the search.
    """
    given, at = search["trials"], "trials"
    for key in given:
        if key not in _KEYS:
            raise fault(f"unknown key '{key}'", nearest(str(key), _KEYS), at, str(key))
    if "until" not in given:
        raise fault("'until' is missing", "give until: bounded, or a number of trials", at)
    if given["until"] != "bounded":
        what = f"{shown(given['until'])} is nothing that trials can be added until"
        raise fault(what, "give until: bounded, or a number of trials", at, "until")
    if "at_most" not in given:
        raise fault("'at_most' is missing", "give the most trials, e.g. at_most: 200", at)
    most = whole(given["at_most"])
    if not isinstance(most, int) or isinstance(most, bool) or not FEWEST_BOUNDED <= most <= MOST:
        remedy = (
            f"give {FEWEST_BOUNDED} to {MOST}: fewer than {FEWEST_BOUNDED} trials bound nothing"
        )
        raise fault(f"{shown(most)} cannot be the most trials", remedy, at, "at_most")
    batches = [one for one in (given.get("batch"), search.get("batch")) if one is not None]
    if len(batches) > 1:
        raise fault("batch is given twice", "leave out one of the two", at, "batch")
    read = {key: value for key, value in search.items() if key != "batch"}
    return {**read, at: most, "until": "bounded", **({"batch": batches[0]} if batches else {})}


def most_trials(search: Mapping[str, Any]) -> int:
    """How many trials a search has at most, as :meth:`StudySpec.to_dict` writes it."""
    trials = search["trials"]
    return int(trials["at_most"] if isinstance(trials, Mapping) else trials)
