"""Overrides of a study file from the command line: ``training.epochs=3``."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from study.spec.errors import Path, SpecError
from study.spec.models import StudySpec
from study.spec.reading import read_yaml
from vae_core.errors import nearest

# Sections that may be a bare name, which then is the value of their key ``name``.
_NAMED = ("data", "model", "balancer", "sampler", "pruner")


def apply_overrides(
    data: Mapping[str, Any], overrides: Sequence[str]
) -> tuple[dict[str, Any], dict[Path, str]]:
    """``data`` with ``overrides`` applied, and the override that set each path.

    A value is YAML. A key or section may be new (a setting that the file leaves at its default),
    but not an arm. Keys of a space contain dots: ``arms.NAME.search.space.training.lr.low``.

    Raises:
        SpecError: an override that is not ``key.path=value``, or whose path does not exist.
    """
    changed = copy.deepcopy(dict(data))
    given: dict[Path, str] = {}
    for text in overrides:
        key, equals, value = text.partition("=")
        where = f"--set {text}"
        if not equals or not all(key.strip().split(".")):
            remedy = "give key.path=value, e.g. training.epochs=3"
            raise SpecError("not an override", where=where, remedy=remedy)
        new, _ = read_yaml(value, where, numbered=False)
        path = _set(changed, key.strip().split("."), new, where)
        given = {old: by for old, by in given.items() if old[: len(path)] != path}
        given[path] = text
    return changed, given


def _set(data: dict[str, Any], parts: list[str], value: Any, where: str) -> Path:
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
        if name not in at and not _may_begin(path):
            remedy = nearest(name, [key for key in at if isinstance(key, str)])
            raise SpecError(f"unknown key '{'.'.join(path)}'", where=where, remedy=remedy)
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


def _may_begin(path: tuple[str, ...]) -> bool:
    """Whether a section that the file does not have may be added at ``path``."""
    if len(path) == 1:
        return path[0] in StudySpec.model_fields
    return path[0] == "arms" and len(path) > 2
