"""Errors in a spec: file, line, key, value and remedy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from vae_core.errors import UserError, nearest

Path = tuple[str | int, ...]


class SpecError(UserError):
    """An error in a study file, or in an override of one."""


@dataclass(frozen=True)
class Source:
    """Where each key of a spec is written: a line of a file, or a ``--set``."""

    file: str = ""
    lines: Mapping[Path, int] = field(default_factory=dict)
    overrides: Mapping[Path, str] = field(default_factory=dict)

    def where(self, path: Path) -> str:
        """``FILE:LINE: key.path`` of the line that gave ``path`` or its nearest parent.

        An override of the key, of a parent or of a part of it takes precedence over the file.
        """
        key = ".".join(map(str, path))
        parents = [path[:n] for n in range(len(path), -1, -1)]
        within = [given for given in self.overrides if given[: len(path)] == path]
        for given in [*parents, *within]:
            if given in self.overrides:
                return f"--set {self.overrides[given]}: {key}"
        line = next((self.lines[parent] for parent in parents if parent in self.lines), None)
        place = self.file if line is None else f"{self.file}:{line}"
        return ": ".join(part for part in (place, key) if part)

    def error(self, path: Path, what: str, remedy: str) -> SpecError:
        """The error to raise about the value at ``path``."""
        return SpecError(what, where=self.where(path), remedy=remedy)

    @contextmanager
    def at(self, *path: str | int) -> Iterator[None]:
        """Attribute an error of the core to the value at ``path``."""
        try:
            yield
        except UserError as error:
            raise self.error(path, error.what, error.remedy) from error


def fault(what: str, remedy: str, *path: str | int) -> PydanticCustomError:
    """An error for a validator to raise about ``path``, counted from the value it validates."""
    return PydanticCustomError("fault", "{what}", {"what": what, "remedy": remedy, "path": path})


def shown(value: Any) -> str:
    """``value`` as an error shows it: its repr, cut to a line."""
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def spec_error(error: ValidationError, root: type[BaseModel], source: Source) -> SpecError:
    """The first fault of ``error``, found while validating a ``root``, as a :class:`SpecError`."""
    faults = error.errors(include_url=False)
    # A misspelt key leaves the intended one missing: report the misspelt one.
    details = next((found for found in faults if found["type"] == "extra_forbidden"), faults[0])
    kind, loc = details["type"], details["loc"]
    if kind in {"extra_forbidden", "missing"}:
        path, owner, _ = _locate(root, loc[:-1])
        key = str(loc[-1])
        fields = owner.model_fields if owner else {}
        if kind == "missing":
            return source.error(path, f"'{key}' is missing", f"give {fields[key].description}")
        return source.error((*path, key), f"unknown key '{key}'", nearest(key, fields))
    path, _, description = _locate(root, loc)
    if kind == "fault":
        context = details["ctx"]
        return source.error((*path, *context["path"]), context["what"], context["remedy"])
    return source.error(path, _message(details), f"give {description}" if description else "")


def _message(details: ErrorDetails) -> str:
    rule = details["msg"].removeprefix("Input ")
    if details["type"] in {"model_type", "dict_type"}:
        rule = "is not a mapping of keys to values"
    return f"{shown(details['input'])} {rule}"


def _locate(
    root: type[BaseModel], loc: Sequence[str | int]
) -> tuple[Path, type[BaseModel] | None, str]:
    """The path in the file that pydantic's ``loc`` means, the model there, the field's description.

    ``loc`` also holds the names of union branches, which are not in the file: the walk ends there.
    """
    path: list[str | int] = []
    owner: type[BaseModel] | None = root
    values: type[BaseModel] | None = None  # of a mapping, once the walk is inside it
    description = ""
    for part in loc:
        if values is not None:
            owner, values = values, None
        elif isinstance(part, str):
            if owner is None or part not in owner.model_fields:
                break
            info = owner.model_fields[part]
            description = info.description or ""
            inner = _model_in(info.annotation)
            mapping = get_origin(info.annotation) is dict
            owner, values = (None, inner) if mapping else (inner, None)
        path.append(part)
    return tuple(path), owner, description


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for arg in get_args(annotation) if (model := _model_in(arg))), None)
