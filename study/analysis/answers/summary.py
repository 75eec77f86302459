"""A report as JSON-able values: what `--format json` prints. No NaN, no infinity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from math import isfinite
from typing import Any

from study.analysis.answers.costs import CostToOneModel
from study.metrics import Metric

_METRIC = ("name", "short", "label", "unit", "digits")


def plain(value: Any) -> Any:
    """``value`` as JSON-able values; what is not finite is None."""
    match value:
        case Metric():
            return {key: getattr(value, key) for key in _METRIC}
        case CostToOneModel():
            return {**_fields(value), "total": plain(value.total)}
        case _ if is_dataclass(value):
            return _fields(value)
        case Mapping():
            return {str(key): plain(item) for key, item in value.items()}
        case list() | tuple():
            return [plain(item) for item in value]
        case float():
            return value if isfinite(value) else None
        case str():
            return str(value)
        case _:
            return value


def _fields(value: Any) -> dict[str, Any]:
    return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
