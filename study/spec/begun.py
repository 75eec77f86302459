"""How a study was begun, as this version reads it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from typing import Any, NamedTuple

from study.journal import Entry, StudyHome, read_entries
from study.journal.events import StudyDescribed, TrialAsked
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


def open_again(spec: Mapping[str, Any], assumed: Mapping[str, Any]) -> dict[str, Any]:
    """``spec``, of ``StudySpec.to_dict``, without what of it is ``assumed``: today's defaults."""
    kept = {}
    for key, value in spec.items():
        if isinstance(value, Mapping):
            kept[key] = open_again(value, assumed.get(key, {}))
        elif key not in assumed or value != assumed[key]:
            kept[key] = value
    return kept


class Begun(NamedTuple):
    """A study as its launches described it."""

    spec: StudySpec
    """The last one's. It is the journal's, where what older formats left out is filled in as they
    meant it. The file spec.yaml is a copy for people: a launch that died before it wrote more began
    nothing."""
    assumed: Mapping[str, Any]
    """What the spec left open, with the defaults of the versions that ran it then."""
    seeds: Set[int]
    """Those that a trial was asked for."""
    roles: Mapping[str, Any]
    """Of its arms, as they were when it was described: defaults may have become others since."""

    @classmethod
    def of(cls, home: StudyHome) -> Begun | None:
        """How the study in ``home`` was begun, in one reading of its journal; None: it was not."""
        described: StudyDescribed | None = None
        assumed: Mapping[str, Any] = {}
        seeds = set[int]()
        for entry in read_entries(home.path, StudyDescribed, TrialAsked):
            if isinstance(entry.event, StudyDescribed):
                described = entry.event
                assumed = filled(assumed, described.assumed)
            elif isinstance(entry.event, TrialAsked):
                seeds.add(entry.event.seed)
        if described is None:
            return None
        return cls(StudySpec.from_dict(described.spec), assumed, seeds, described.roles)
