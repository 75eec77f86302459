"""A study's seeds: a list, a range of them, or as many as it takes to decide."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator

from study.spec.base import Whole
from study.spec.distributions import whole
from study.spec.errors import SpecError, fault, shown
from study.statistics import FEWEST_LOOKED
from vae_core.errors import nearest
from vae_core.randomness import SEED_LIMIT, derive

MOST = 10_000
"""Seeds that a range may have: each is a confirm run of an arm."""
DEFAULT = 12
"""Seeds of a study that gives none: most that the sign test uses for what they cost, and enough to
show a difference of 1.1 standard deviations of it."""
BATCH = 3
"""Seeds that a study adds at a time until it is decided."""
_FIRST = 1_000_000
"""Below which the first of a study's own seeds is, so that people can read them."""
_RANGE_KEYS = ("from", "count")
_UNTIL_KEYS = ("until", "at_most", "batch", "from")
_RANGE = re.compile(r"(\d{1,10})\s*(?:\.{2,3}|-|:|to)\s*(\d{1,10})")


def own_seeds(study: str, count: int = DEFAULT) -> list[int]:
    """Consecutive seeds of the study of that name, the same on every machine.

    Studies of different names have different ones: one unlucky seed is not every study's.
    """
    first = derive(0, "seeds", study) % _FIRST
    return [*range(first, first + count)]


def read_seeds(value: Any, study: str) -> Any:
    """The list that a range means: ``{from: 101, count: 8}`` is 101 to 108; a list as it is.

    Without ``from`` a range begins where the ``study``'s own seeds do.
    """
    if isinstance(value, Mapping):
        return _range(value, study)
    if _is_within(value, 1, MOST):
        remedy = f"give [{value}], or {{count: {value}}} for {value} of the study's own"
        raise fault(f"{value} could mean the seed {value} or {value} seeds", remedy)
    if isinstance(value, str) and (found := _RANGE.fullmatch(value.strip())):
        first, last = int(found[1]), int(found[2])
        if first <= last < min(SEED_LIMIT, first + MOST):
            remedy = f"for {first} to {last} give {{from: {first}, count: {last - first + 1}}}"
            raise fault(f"{shown(value)} does not say whether {last} is one of them", remedy)
    return value


def read_until(value: Mapping[str, Any], study: str) -> tuple[list[int], int]:
    """Of ``{until: decided, at_most: 40}``, all the seeds there may be, and the batch.

    Raises:
        PydanticCustomError: a key or value of it is wrong; its path begins at the study.
    """
    at = "seeds"
    for key in value:
        if key not in _UNTIL_KEYS:
            raise fault(f"unknown key '{key}'", nearest(str(key), _UNTIL_KEYS), at, str(key))
    if value["until"] != "decided":
        what = f"{shown(value['until'])} is nothing that seeds can be added until"
        raise fault(what, "give until: decided", at, "until")
    if "at_most" not in value:
        raise fault("'at_most' is missing", "give the most seeds, e.g. at_most: 40", at)
    most, batch = whole(value["at_most"]), whole(value.get("batch", BATCH))
    if not _is_within(most, FEWEST_LOOKED, MOST):
        remedy = f"give {FEWEST_LOOKED} to {MOST}: fewer than {FEWEST_LOOKED} seeds decide nothing"
        raise fault(f"{shown(most)} cannot be the most seeds", remedy, at, "at_most")
    if not _is_within(batch, 1, MOST):
        remedy = f"give 1 to {MOST}, or leave it out for {BATCH}"
        raise fault(f"{shown(batch)} seeds cannot be added at a time", remedy, at, "batch")
    first = _first(value, study, at)
    if most > SEED_LIMIT - first:
        what = f"from {first} on there are {SEED_LIMIT - first} seeds, and at_most is {most}"
        raise fault(what, f"give one up to {SEED_LIMIT - most}, or leave it out", at, "from")
    return [*range(first, first + most)], batch


def continued(seeds: list[int], count: int) -> list[int]:
    """The first ``count`` of ``seeds`` and, after them, of those above the largest."""
    after = max(seeds) + 1
    if len(seeds) < count and after + count - len(seeds) > SEED_LIMIT:
        what = f"no {count - len(seeds)} seeds are left above {after - 1}, the largest it has"
        raise SpecError(what, where="seeds", remedy="list those to be added at the end")
    return [*seeds[:count], *range(after, after + count - len(seeds))]


def _range(value: Mapping[str, Any], study: str) -> list[int]:
    for key in value:
        if key not in _RANGE_KEYS:
            remedy = nearest(str(key), _RANGE_KEYS)
            if key in _UNTIL_KEYS:
                remedy = "add until: decided, or give count"
            raise fault(f"unknown key '{key}'", remedy, str(key))
    if "count" not in value:
        raise fault("'count' is missing", "give how many there are, e.g. {from: 101, count: 8}")
    first, count = _first(value, study), whole(value["count"])
    most = min(MOST, SEED_LIMIT - first)
    if not _is_within(count, 1, most):
        raise fault(f"{shown(count)} is no number of seeds", f"give 1 to {most}", "count")
    return [*range(first, first + count)]


def _first(value: Mapping[str, Any], study: str, *at: str) -> int:
    first = whole(value["from"]) if "from" in value else own_seeds(study, 1)[0]
    if not _is_within(first, 0, SEED_LIMIT - 1):
        raise fault(f"{shown(first)} is no seed", "give one from 0 to 2^32 - 1", *at, "from")
    return int(first)


def _is_within(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _distinct(seeds: list[int]) -> list[int]:
    if not seeds:
        raise fault("no seed is given", f"give at least one, or leave seeds out for {DEFAULT}")
    seen = set()
    for i, seed in enumerate(seeds):
        if not 0 <= seed < SEED_LIMIT:
            raise fault(f"seed {seed} is out of range", "give one from 0 to 2^32 - 1", i)
        if seed in seen:
            raise fault(f"seed {seed} is given twice", "give each seed once", i)
        seen.add(seed)
    return seeds


Seeds = Annotated[list[Whole], AfterValidator(_distinct)]
