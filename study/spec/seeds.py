"""A list of seeds, or a range of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

from study.spec.base import Whole
from study.spec.distributions import whole
from study.spec.errors import fault, shown
from vae_core.errors import nearest

MOST = 10_000
"""Seeds that a range may have: each is a confirm run of every arm."""
_END = 2**32
_KEYS = ("from", "count")
_RANGE = re.compile(r"(\d{1,10})\s*(?:\.{2,3}|-|:|to)\s*(\d{1,10})")


def _read(value: Any) -> Any:
    """The list that a range ``{from: 101, count: 8}`` means, 101 to 108; a list as it is."""
    if isinstance(value, Mapping):
        return _range(value)
    if _is_within(value, 1, MOST):
        remedy = f"give [{value}], or {{from: 0, count: {value}}} for 0 to {value - 1}"
        raise fault(f"{value} could mean the seed {value} or {value} seeds", remedy)
    if isinstance(value, str) and (found := _RANGE.fullmatch(value.strip())):
        first, last = int(found[1]), int(found[2])
        if first <= last < min(_END, first + MOST):
            remedy = f"for {first} to {last} give {{from: {first}, count: {last - first + 1}}}"
            raise fault(f"{shown(value)} does not say whether {last} is one of them", remedy)
    return value


def _range(value: Mapping[str, Any]) -> list[int]:
    for key in value:
        if key not in _KEYS:
            raise fault(f"unknown key '{key}'", nearest(str(key), _KEYS), str(key))
    for key, meaning in zip(_KEYS, ("the first seed", "how many there are"), strict=True):
        if key not in value:
            raise fault(f"'{key}' is missing", f"give {meaning}, e.g. {{from: 101, count: 8}}")
    first, count = (whole(value[key]) for key in _KEYS)
    if not _is_within(first, 0, _END - 1):
        raise fault(f"{shown(first)} is no seed", "give one from 0 to 2^32 - 1", "from")
    most = min(MOST, _END - first)
    if not _is_within(count, 1, most):
        raise fault(f"{shown(count)} is no number of seeds", f"give 1 to {most}", "count")
    return [*range(first, first + count)]


def _is_within(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _distinct(seeds: list[int]) -> list[int]:
    if not seeds:
        raise fault("no seed is given", "give at least one, e.g. [0, 1, 2, 3, 4]")
    seen = set()
    for i, seed in enumerate(seeds):
        if not 0 <= seed < _END:
            raise fault(f"seed {seed} is out of range", "give one from 0 to 2^32 - 1", i)
        if seed in seen:
            raise fault(f"seed {seed} is given twice", "give each seed once", i)
        seen.add(seed)
    return seeds


Seeds = Annotated[list[Whole], BeforeValidator(_read), AfterValidator(_distinct)]
