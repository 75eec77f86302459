"""What choosing an arm's settings has cost, read at the launch that begins the arm."""

from __future__ import annotations

from math import fsum

from study.journal import StudyHome, has_events, read_entries
from study.journal.events import STATED, ArmPiloted
from study.spec import SpecError, StudySpec
from study.spec.arms import PilotSpec


def pilots(spec: StudySpec, home: StudyHome) -> list[ArmPiloted]:
    """Of every arm of ``spec`` with a pilot: by its journal if it has begun, else read now.

    Raises:
        SpecError: the study that was the pilot is not there.
    """
    wanted = {name: arm.pilot for name, arm in spec.arms.items() if arm.pilot is not None}
    entries = read_entries(home.path, ArmPiloted) if wanted and has_events(home.path) else ()
    events = (entry.event for entry in entries)
    begun = {event.arm: event for event in events if isinstance(event, ArmPiloted)}
    return [begun.get(name) or _read(name, pilot, home) for name, pilot in wanted.items()]


def _read(arm: str, pilot: PilotSpec, home: StudyHome) -> ArmPiloted:
    if pilot.study is not None:
        return _of_study(arm, pilot.study, home)
    assert pilot.images is not None
    assert pilot.device_seconds is not None
    return ArmPiloted(arm, STATED, pilot.images, pilot.device_seconds, pilot.device_seconds)


def _of_study(arm: str, name: str, home: StudyHome) -> ArmPiloted:
    """All that a study was charged, with what was spent before it on its arms."""
    from study.analysis.answers.costs import told_cost
    from study.analysis.records.tables import study_facts, tables_of

    source = StudyHome(home.studies, name)
    if source == home or not has_events(source.path):
        raise SpecError(
            f"there is no earlier study '{name}' in {home.studies}",
            where=f"arms.{arm}.pilot.study",
            remedy="name another study of this home, or give images and device_seconds",
        )
    trials = tables_of(source.path)["trials"]
    rows = trials.to_pylist()
    before = told_cost(trials, *study_facts(trials)["spec"].get("arms", {}))
    standard = [*(row["standard_seconds"] for row in rows), before.standard]
    images = sum(row["images"] for row in rows) + int(before.images)
    if not images:
        raise SpecError(
            f"study '{name}' has trained nothing yet, so it can have chosen nothing",
            where=f"arms.{arm}.pilot.study",
            remedy="run it first, or give images and device_seconds",
        )
    return ArmPiloted(
        arm=arm,
        source=f"study '{name}'",
        images=images,
        billed=fsum([*(row["billed_seconds"] for row in rows), before.billed]),
        standard=None if None in standard else fsum(standard),
    )
