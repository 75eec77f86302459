"""The spec a study was begun with, as this version reads it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from study.journal import Entry, StudyHome, read_entries
from study.journal.events import StudyDescribed
from study.journal.upgrades import filled
from study.spec.models import StudySpec


def last_description(entries: Iterable[Entry]) -> StudyDescribed | None:
    """The study as its last launch described it; None before the first."""
    found = None
    for entry in entries:
        if isinstance(entry.event, StudyDescribed):
            found = entry.event
    return found


def begun_as(described: StudyDescribed, spec: StudySpec) -> bool:
    """Whether a study was described as having ``spec``, both as this version reads them."""
    return StudySpec.from_dict(described.spec).hash == spec.hash


def assumed_by(entries: Iterable[Entry]) -> Mapping[str, Any]:
    """What a study's spec left open, with the defaults of the versions that ran it then."""
    found: Mapping[str, Any] = {}
    for entry in entries:
        if isinstance(entry.event, StudyDescribed):
            found = filled(found, entry.event.assumed)
    return found


def open_again(spec: Mapping[str, Any], assumed: Mapping[str, Any]) -> dict[str, Any]:
    """``spec``, of ``StudySpec.to_dict``, without what of it is ``assumed``: today's defaults."""
    kept = {}
    for key, value in spec.items():
        if isinstance(value, Mapping):
            kept[key] = open_again(value, assumed.get(key, {}))
        elif key not in assumed or value != assumed[key]:
            kept[key] = value
    return kept


def begun_spec(home: StudyHome) -> StudySpec | None:
    """The spec that the study in ``home`` was last launched with; None if no launch began it.

    It is the journal's, where what older formats left out is filled in as they meant it. The
    file spec.yaml is a copy for people: a launch that died before it wrote more began nothing.
    """
    described = last_description(read_entries(home.path))
    return None if described is None else StudySpec.from_dict(described.spec)
