"""Overrides of a study file from the command line: ``training.epochs=3``."""

from __future__ import annotations

import copy
from collections.abc import Container, Mapping, Sequence
from typing import Any

from study.spec.errors import Path, SpecError
from study.spec.models import StudySpec
from study.spec.reading import read_yaml
from vae_core.errors import nearest

# Sections that may be a bare name, which then is the value of their key ``name``.
_NAMED = ("data", "model", "balancer", "sampler", "pruner")
ASIDE = "x-"
"""Begins a top-level key whose value is no part of the study: a place for YAML's anchors."""


def apply_overrides(
    data: Mapping[str, Any], overrides: Sequence[str]
) -> tuple[dict[str, Any], dict[Path, str]]:
    """``data`` with ``overrides`` applied, and the override that set each path.

    A value is YAML. A key or section may be new (a setting that the file leaves at its default). An
    arm may be new if one of ``overrides`` names its balancer; any other is a misspelt one. Keys of
    a space contain dots: ``arms.NAME.search.space.training.lr.low``.

    Raises:
        SpecError: an override that is not ``key.path=value``, or whose path does not exist.
    """
    changed = copy.deepcopy(dict(data))
    given: dict[Path, str] = {}
    new_arms = {arm for text in overrides if (arm := _arm_of_balancer(_parts(text)))}
    for text in overrides:
        parts, where = _parts(text), f"--set {text}"
        _, equals, value = text.partition("=")
        if not equals or not all(parts):
            remedy = "give key.path=value, e.g. training.epochs=3"
            raise SpecError("not an override", where=where, remedy=remedy)
        if parts[0].startswith(ASIDE):
            what = (
                f"'{parts[0]}' is no part of the study, and what uses its anchors is read already"
            )
            raise SpecError(what, where=where, remedy="set the keys that use them")
        new, _ = read_yaml(value, where, numbered=False)
        path = _set(changed, parts, new, where, new_arms)
        given = {old: by for old, by in given.items() if old[: len(path)] != path}
        given[path] = text
    return changed, given


def _parts(text: str) -> list[str]:
    return text.partition("=")[0].strip().split(".")


def _arm_of_balancer(parts: Sequence[str]) -> str | None:
    """The arm whose balancer a path names."""
    match parts:
        case ["arms", arm, "balancer"] | ["arms", arm, "balancer", "name"]:
            return arm
        case _:
            return None


def _set(
    data: dict[str, Any], parts: list[str], value: Any, where: str, new_arms: Container[str]
) -> Path:
    path: tuple[str, ...] = ()
    at = data
    while True:
        name = _longest_known(at, parts)
        rest = parts[name.count(".") + 1 :]
        if path[-1:] == ("space",) and name not in at:  # a new key of a space, with its dots
            name, rest = ".".join(parts), []
        path = (*path, name)
        if not rest:
            at[name] = value
            return path
        if name not in at:
            _check_new(path, at, where, new_arms)
        inner = at.get(name)
        if isinstance(inner, str) and name in _NAMED:
            inner = {"name": inner}
        elif inner is None:
            inner = {}
        elif not isinstance(inner, dict):
            what = f"'{'.'.join(path)}' holds {inner!r}, which has no keys"
            remedy = f"replace it: {'.'.join(path)}=..."
            raise SpecError(what, where=where, remedy=remedy)
        at[name] = inner
        at, parts = inner, rest


def _longest_known(at: Mapping[str, Any], parts: list[str]) -> str:
    """The longest run of ``parts`` that is one key of ``at``, else the first part."""
    names = [".".join(parts[:n]) for n in range(len(parts), 0, -1)]
    return next((name for name in names if name in at), parts[0])


def _check_new(
    path: tuple[str, ...], at: Mapping[str, Any], where: str, new_arms: Container[str]
) -> None:
    """Check that a section which the file does not have may be added at ``path``.

    Raises:
        SpecError: it may not.
    """
    name = path[-1]
    if len(path) == 1 and name not in StudySpec.model_fields:
        remedy = nearest(name, StudySpec.model_fields)
    elif path[0] == "arms" and len(path) == 2 and name not in new_arms:
        remedy = f"{nearest(name, at)}; to add an arm, give arms.{name}.balancer.name=... too"
    else:
        return
    raise SpecError(f"unknown key '{'.'.join(path)}'", where=where, remedy=remedy)
