"""Classes by name: the built-in ones, and a user's own by import path or entry point."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

from vae_core.errors import ContractError, nearest

T = TypeVar("T")

_IMPORT_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


class Registry(Generic[T]):
    """A mapping from names to one kind of class (models, balancers, data sources).

    A name is looked up among the built-in entries, then among installed entry points of
    ``group``; ``package.module:Name`` is imported. ``check`` verifies what is not built in and
    raises :class:`ContractError`; built-in entries are verified by the tests.

    Args:
        kind: what the entries are called in errors.
        group: of the entry points.
        check: returns an entry that was imported, if it is one.
        built_in: import paths of the built-in entries by name, imported on demand.
    """

    def __init__(
        self,
        kind: str,
        *,
        group: str,
        check: Callable[[str, Any], T],
        built_in: Mapping[str, str],
    ) -> None:
        self.kind, self.group, self._check, self._built_in = kind, group, check, built_in

    def names(self) -> list[str]:
        """Names of the built-in entries and of the installed entry points, sorted."""
        return sorted({*self._built_in, *(point.name for point in entry_points(group=self.group))})

    def built_in(self, name: str) -> bool:
        """Whether ``name`` is built in: looking it up runs no code from outside this package."""
        return name in self._built_in

    def get(self, name: str) -> T:
        """The entry called ``name``.

        Raises:
            ContractError: the name is unknown, cannot be imported, or is not a ``kind``.
        """
        if name in self._built_in:
            entry: T = imported(self._built_in[name])
            return entry
        for point in entry_points(group=self.group):
            if point.name == name:
                return self._check(name, _loaded(self.kind, name, point.load))
        if _IMPORT_PATH.fullmatch(name):
            return self._check(name, _loaded(self.kind, name, lambda: imported(name)))
        raise ContractError(
            f"unknown {self.kind} '{name}'",
            remedy=f"{nearest(name, self.names())}; or give your own as 'package.module:Name'",
        )


def imported(path: str) -> Any:
    """What ``path``, ``package.module:Name``, names."""
    module, _, attribute = path.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _loaded(kind: str, name: str, load: Callable[[], Any]) -> Any:
    try:
        return load()
    except Exception as error:
        raise ContractError(
            f"{kind} '{name}' cannot be imported: {type(error).__name__}: {error}",
            remedy="check the path, and that the package is installed where the engines run",
        ) from error


def check_settings(
    kind: str, name: str, call: Callable[..., Any], settings: Mapping[str, Any], *, skip: int
) -> None:
    """Check ``settings`` against the keyword parameters of ``call`` after its first ``skip``.

    Raises:
        ContractError: a setting that ``call`` does not take.
    """
    parameters = list(inspect.signature(call).parameters.values())[skip:]
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters):
        return
    known = [p.name for p in parameters]
    for key in settings:
        if key not in known:
            raise ContractError(
                f"{kind} '{name}' has no setting '{key}'", remedy=nearest(key, known)
            )
