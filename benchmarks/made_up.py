"""Studies without training: a real conductor writes a real journal from made-up reports."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import yaml

from study.journal import Journal, StudyHome
from study.journal.events import EngineChanged, LaunchBegan, StudyDescribed
from study.search import Conductor, Request
from study.spec import StudySpec
from study.spec.roles import arm_roles

MakeReport = Callable[[Request, int], dict[str, Any]]
"""The report of a trial at a step, as :meth:`study.search.Conductor.report` takes it."""


def begin(spec: StudySpec, home: StudyHome, engines: Sequence[EngineChanged]) -> Journal:
    """The home and the journal of ``spec``, as a launch with ``engines`` begins them."""
    home.make()
    home.spec.write_text(yaml.safe_dump(spec.to_dict(), sort_keys=False))
    journal = Journal(home.path)
    whole = spec.name, spec.to_dict(), spec.hash, "1"
    journal.append(StudyDescribed(*whole, roles=arm_roles(spec), design=spec.design))
    journal.append(LaunchBegan(1, pid=1, host="h", command=["study", "launch"]))
    for engine in engines:
        journal.append(engine)
    journal.commit()
    return journal


def follow(conductor: Conductor, make: MakeReport, reports: int | None = None) -> None:
    """Give the conductor ``reports`` reports, or all it waits for, one trial after another."""
    steps, given = conductor.spec.training.reports, 0
    while (request := conductor.next()) is not None:
        for step in range(request.after + 1, steps + 1):
            if given == reports:
                return
            given += 1
            if conductor.report(request.trial, make(request, step)):
                break
        conductor.returned(request.trial)
