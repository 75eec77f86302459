"""From a spec to running engines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from study.engine.parts import Part
from study.journal import Journal
from study.journal.events import SlotsChosen
from study.journal.marks import leave_mark
from study.scheduling.fleet import Fleet, Note
from study.scheduling.sizing import EnginePlan, best_width, engine_plan, widths_to_try
from study.search import Conductor
from study.spec import StudySpec
from vae_core.data import PreparedData


@contextmanager
def running_engines(
    spec: StudySpec,
    data: PreparedData,
    weights: Path | None,
    home: Path,
    conductor: Conductor,
    note: Note,
    *,
    parts: Mapping[Part, str],
    one_row: bool = False,
    meanwhile: Callable[[], object] = lambda: None,
    heed: Callable[[], None] = lambda: None,
) -> Iterator[Fleet]:
    """Start engines for ``conductor``, which may use their slots, whatever nodes join or leave.

    At the end they are stopped, and their time accounts recorded.

    Args:
        spec: says how many engines, and what they evaluate.
        data: the prepared images.
        weights: the file of the Inception network's weights, if the study needs them.
        home: the study's folder.
        conductor: the study.
        note: records events of the engines; also called from another thread.
        parts: what an engine imports, with the digests of its code.
        one_row: whether an engine can train one trial at a time only.
        meanwhile: what can be done while their processes start, which takes seconds.
        heed: called again and again while engines are waited for; what it raises ends that.

    Raises:
        ResourceError: the cluster lacks what the spec requires.
        EngineError: no engine starts, so that slots could be timed.
    """
    journal = conductor.journal
    plan = engine_plan(spec.engines)
    widths = widths_to_try(spec, plan.device, plan.count, journal.entries, one_row=one_row)
    config = plan.config(spec, home, journal.epoch, weights, parts, leave_mark(home))
    count = None if spec.engines.count == "auto" else plan.count
    fleet = Fleet(config, count, widths[-1], heed)
    try:
        meanwhile()
        width = frozen_width(spec, plan, fleet, data, journal, widths)

        def resized(engines: int) -> None:
            conductor.slots = engines * width

        of = data.to_dict(), spec.data.validation, width
        fleet.open(*of, note, conductor.running, resized)
        yield fleet
    finally:
        fleet.stop()


def frozen_width(
    spec: StudySpec,
    plan: EnginePlan,
    fleet: Fleet,
    data: PreparedData,
    journal: Journal,
    widths: tuple[int, ...],
) -> int:
    """K, the slots of an engine: the only one of ``widths``, else the best, from now on.

    It is timed on one of the ``fleet``'s engines, and journalled, because it is part of the
    numerics key. Where the model cannot be trained it is 1 and not journalled: the trials' own
    failures will show why.
    """
    if len(widths) == 1:
        return widths[0]
    seconds = fleet.time_widths(spec.to_dict(), data.to_dict(), widths)
    if not seconds:
        return 1
    width = best_width(spec, plan.count, seconds)
    timed = {str(k): s for k, s in seconds.items()}
    journal.append(SlotsChosen(plan.device, width, timed))
    journal.commit()
    return width
