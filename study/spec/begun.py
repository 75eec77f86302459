"""The spec a study was begun with, as this version reads it."""

from __future__ import annotations

from collections.abc import Iterable

import yaml

from study.journal import Entry, StudyHome, read_entries
from study.journal.events import StudyDescribed
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


def begun_spec(home: StudyHome) -> StudySpec | None:
    """The spec that the study in ``home`` was last launched with; None if there was no launch.

    It is the journal's, where what older formats left out is filled in as they meant it. The
    file spec.yaml is a copy for people, and read where a launch wrote nothing but it.
    """
    described = last_description(read_entries(home.path))
    if described is not None:
        return StudySpec.from_dict(described.spec)
    if home.spec.exists():
        return StudySpec.from_dict(yaml.safe_load(home.spec.read_text()))
    return None
