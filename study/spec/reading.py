"""YAML as plain values, with the line of each key."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from study.spec.errors import Path, SpecError

_KEYS = ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge")
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")


class _Loader(yaml.SafeLoader):
    """Safe YAML 1.1 that reads ``1e-3`` as the number that it is in YAML 1.2."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """The value of ``node``; only its form is checked before: 2024-13-45 has that of a date."""
        try:
            return super().construct_object(node, deep=deep)
        except (ArithmeticError, AttributeError, LookupError, ValueError):
            kind = node.tag.rpartition(":")[2].replace("timestamp", "date")
            what = f"{node.value} is not a valid {kind}"
            remedy = "put it in quotes if it is text, or correct it"
            raise _RefusedError(what, remedy, node.start_mark.line + 1) from None


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+"),
    list("-+.0123456789"),
)


def read_yaml(text: str, where: str, *, numbered: bool = True) -> tuple[Any, dict[Path, int]]:
    """The value of the YAML document ``text``, and the line (from 1) of each of its keys.

    Args:
        text: the document.
        where: its name in errors: a file, or an override.
        numbered: whether errors add the line to ``where``.

    Raises:
        SpecError: it is not YAML, gives a key twice, contains itself, or has a number that can be
            read in two ways, or a number or a date in none.
    """
    try:
        node = yaml.compose(text, Loader=_Loader)
        lines = dict(_lines(node, (), ())) if node else {}
        return yaml.load(text, Loader=_Loader), lines  # a SafeLoader: builds plain values only
    except _RefusedError as error:
        what, remedy, line = error.args
        place = f"{where}:{line}" if numbered else where
        raise SpecError(what, where=place, remedy=remedy) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
        raise SpecError(
            f"not valid YAML: {problem}",
            where=f"{where}:{mark.line + 1}" if mark and numbered else where,
            remedy="check indentation, colons and brackets on this line and the one before",
        ) from None


class _RefusedError(Exception):
    """What is wrong, the remedy, and the line."""


def _refuse_ambiguous(node: yaml.ScalarNode) -> None:
    """Refuse a number that YAML 1.1, read here, takes for another than a person would.

    It counts in base 60 where there is a colon, and in base 8 after a leading zero.
    """
    text = node.value
    digits = text.lstrip("+-")
    octal = len(digits) > 1 and digits[0] == "0" and digits.isdigit()
    if node.tag not in _NUMBERS or not (":" in text or octal):
        return
    read = yaml.safe_load(text)
    base, other = ("base 8", f"{digits.lstrip('0') or '0'}") if octal else ("base 60", "a time")
    what = f"{text} could mean {read} ({base}, as YAML 1.1 has it) or {other}"
    raise _RefusedError(what, "write the number that is meant", node.start_mark.line + 1)


def _lines(node: yaml.Node, path: Path, above: tuple[yaml.Node, ...]) -> Iterator[tuple[Path, int]]:
    if any(node is parent for parent in above):
        raise yaml.MarkedYAMLError(problem="an alias contains itself", problem_mark=node.start_mark)
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.tag not in _KEYS:
                problem = "a key is not text: put it in quotes, or rename it"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            if key.value in seen:
                what = f"'{key.value}' is given twice"
                raise _RefusedError(what, "leave out one of the two", line)
            seen.add(key.value)
            yield (*path, key.value), line
            yield from _lines(value, (*path, key.value), (*above, node))
    elif isinstance(node, yaml.ScalarNode):
        _refuse_ambiguous(node)
    elif isinstance(node, yaml.SequenceNode):
        for i, value in enumerate(node.value):
            yield (*path, i), value.start_mark.line + 1
            yield from _lines(value, (*path, i), (*above, node))
