"""When, where and with what a study ran."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from study.analysis.records.tables import study_facts
from study.formatting import duration, timestamp


def origin(trials: pa.Table) -> Mapping[str, str]:
    """What is known of a study's date, machine and versions, in words, by what it is."""
    facts = study_facts(trials)
    keys = facts.get("numerics_keys") or []
    devices = Counter(engine["device"] for engine in facts.get("engines") or ())
    engines = ", ".join(f"{count} started on {device}" for device, count in devices.items())
    versions = [f"torch {torch}" for torch in _distinct(key.get("torch") for key in keys)]
    if code := facts.get("code_version"):
        versions.append(f"code {code}")
    found = {
        "date": _date(trials),
        "machine": ", ".join(_distinct(key.get("device") for key in keys)),
        "engines": engines,
        "precision": ", ".join(_distinct(key.get("dtype") for key in keys)),
        "versions": ", ".join(versions),
    }
    return {name: value for name, value in found.items() if value}


def _date(trials: pa.Table) -> str:
    begun = [time for time in trials["started"].to_pylist() if time]
    if not begun:
        return ""
    last = max([time for time in trials["ended"].to_pylist() if time] or begun)
    return f"{timestamp(min(begun))}, {duration(last - min(begun))} from first to last trial"


def _distinct(values: Iterable[Any]) -> list[str]:
    return list(dict.fromkeys(str(value) for value in values if value))
