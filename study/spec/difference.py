"""What changed between a study's frozen spec and a new one, and which changes are allowed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from study.spec.errors import shown
from study.spec.options import SAMPLERS

# No recorded number depends on these except through the numerics key, which is recorded.
_FREE = ("question", "engines", "checkpoints", "max_hours", "max_images", "max_device_hours")


class SpecChanges(NamedTuple):
    """Changes as lines ``key: old -> new``."""

    allowed: list[str]
    """Extensions (trials, seeds, replicates, arms, more seeds until it is decided), and settings
    that change no result."""
    refused: list[str]
    """Changes to settings of trials that have run."""


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> SpecChanges:
    """Classify the changes from ``old`` to ``new``, two results of ``StudySpec.to_dict``.

    A study can be extended: more trials, seeds, replicates or arms. Changes to settings of trials
    that have run (data, model, training, objective, an arm's balancer or search) are refused.
    """
    found = SpecChanges([], [])
    for path, before, after in _changes(old, new, ()):
        allowed = path[0] in _FREE or _extends(path, before, after, new) or _paces(path, new)
        line = f"{'.'.join(path)}: {_text(before)} -> {_text(after)}"
        if path == ("seeds",) and not allowed and set(before) < set(after):
            line += " (add new ones at the end)"
        (found.allowed if allowed else found.refused).append(line)
    return found


_ABSENT = object()


def _changes(
    old: Any, new: Any, path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in [*old, *(key for key in new if key not in old)]:
            yield from _changes(old.get(key, _ABSENT), new.get(key, _ABSENT), (*path, key))
    elif old is _ABSENT or new is _ABSENT or old != new or _other_kind(path, old, new):
        yield path, old, new


def _other_kind(path: tuple[str, ...], old: Any, new: Any) -> bool:
    """Whether whole numbers became real ones in a space: 0 to 1 draws no 0.5, 0.0 to 1.0 does."""
    return path[2:4] == ("search", "space") and type(old) is not type(new)


def _extends(path: tuple[str, ...], old: Any, new: Any, spec: Mapping[str, Any]) -> bool:
    match path:
        case ("seeds",):
            return bool(new[: len(old)] == old)  # a confirm run has the seed of its number
        case ("until",):
            return old is _ABSENT  # its bounds hold at every look, the first ones too
        case ("seeds_batch",):
            return True
        case ("arms", _):
            return old is _ABSENT
        case ("arms", _, "search", "trials") if isinstance(new, Mapping):
            return bool(old <= new["at_most"])  # likewise: the first trials count too
        case ("arms", _, "search", "trials") if isinstance(old, Mapping):
            return False  # bounds for a fixed number would be too short after looks
        case ("arms", arm, "search", "trials") if _evolves(spec["arms"][arm]):
            return False  # more generations make each of them shorter
        case ("arms", _, "search", "trials" | "replicates"):
            return bool(old < new)
        case ("arms", _, "search", "trials", "at_most"):
            return bool(old < new)
        case _:
            return False


def _evolves(arm: Mapping[str, Any]) -> bool:
    return SAMPLERS[arm["search"]["sampler"]["name"]].evolves


def _paces(path: tuple[str, ...], new: Mapping[str, Any]) -> bool:
    """Whether it says how many trials are added at a time until bounded, and not which."""
    match path:
        case ("arms", arm, "search", "batch"):
            return isinstance(new["arms"][arm]["search"]["trials"], Mapping)
        case _:
            return False


def _text(value: Any) -> str:
    return shown(None if value is _ABSENT else value)
