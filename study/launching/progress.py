"""Progress of a running study: bars on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import io
import sys
import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn
from rich.progress import Progress as Bars
from rich.table import Column

from study.formatting import duration
from study.journal import Entry, Event
from study.journal.events import (
    EngineChanged,
    Looked,
    PairChosen,
    SearchLooked,
    TrialEnded,
    TrialPlaced,
)
from study.metrics import metric
from study.spec import StudySpec

if TYPE_CHECKING:
    from study.search import Conductor
    from study.search.arm_progress import ArmProgress

REFRESH = 1.0
"""Seconds between refreshes on a terminal."""
LINE = 15.0
"""Seconds between lines elsewhere."""
_NOTEBOOK = 100
"""Characters of a line in a notebook."""


class Progress:
    """Follows a conductor in a thread of its own, on ``console`` (by default stderr)."""

    def __init__(
        self, conductor: Conductor, spec: StudySpec, console: Console | None = None
    ) -> None:
        self._conductor, self._spec = conductor, spec
        self._console = console or Console(file=sys.stderr)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._start, self._work = time.monotonic(), 0.0
        self._said: set[str] = set()  # what is not said again
        self._trains = False

    def __enter__(self) -> Progress:
        return self

    def show(self, entry: Entry) -> None:
        """Print what a person should know at once: lost engines, failed trials, what is decided."""
        event = entry.event
        if isinstance(event, EngineChanged) and not self._trains:
            self._start, self._trains = time.monotonic(), True
        news, once = _news(event), _once(event)
        if news and once not in self._said:
            self._console.print(news, highlight=False, markup=False, soft_wrap=True)
        if once:
            self._said.add(once)

    def begin(self) -> None:
        """Training starts with the first engine; the time left is estimated from there."""
        self._start = time.monotonic()
        self._work = sum(arm.work for arm in self._conductor.arm_progress())
        self._thread.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _follow(self) -> None:
        if self._console.is_jupyter:
            self._in_notebook()
            return
        if self._console.is_terminal:
            bars, tasks = self._bars()
            with bars:
                while not self._stop.wait(REFRESH):
                    self._draw(bars, tasks)
                self._draw(bars, tasks)
            return
        while not self._stop.wait(LINE):
            self._console.print(self._line(), highlight=False, markup=False, soft_wrap=True)

    def _bars(self) -> tuple[Bars, list[TaskID]]:
        """A bar of the whole study, and below it one of each arm."""
        bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[said]}", table_column=Column(no_wrap=True)),
            console=self._console,
            auto_refresh=False,
        )
        return bars, [bars.add_task("", total=None, said="") for _ in (0, *self._spec.arms)]

    def _draw(self, bars: Bars, tasks: Sequence[TaskID]) -> None:
        """The whole study, and below it an arm a line."""
        arms = self._conductor.arm_progress()
        rows = [(self._spec.name, sum(a.work for a in arms), sum(a.planned for a in arms))]
        rows += [(arm.arm, arm.work, arm.planned) for arm in arms]
        said = [self._summary(arms), *map(self._arm, arms)]
        for task, (name, work, planned), text in zip(tasks, rows, said, strict=True):
            bars.update(task, description=name, completed=work, total=planned, said=text)
        bars.refresh()

    def _in_notebook(self) -> None:
        """The bars below the cell, in place; Rich's own way needs ipywidgets for that."""
        from IPython.display import display

        bars, tasks = self._bars()

        def drawn() -> dict[str, str]:
            self._draw(bars, tasks)
            text = io.StringIO()
            Console(file=text, width=_NOTEBOOK, force_jupyter=False).print(bars)
            return {"text/plain": text.getvalue()}

        place = display(drawn(), raw=True, display_id=True)
        while not self._stop.wait(REFRESH):
            place.update(drawn(), raw=True)
        place.update(drawn(), raw=True)

    def _line(self) -> str:
        arms = self._conductor.arm_progress()
        leaders = [arm for arm in arms if arm.best is not None]
        leader = min(leaders, key=lambda arm: arm.best or 0.0, default=None)
        ahead = f", {self._best(leader)} ({leader.arm})" if leader else ""
        return f"{self._spec.name}: {self._summary(arms)}{ahead}"

    def _arm(self, arm: ArmProgress) -> str:
        said = (f"{arm.ended} of {arm.planned}", arm.phase, self._best(arm))
        return ", ".join(filter(None, said))

    def _best(self, arm: ArmProgress) -> str:
        if arm.best is None:
            return ""
        best = metric(self._spec.objective).number(arm.best)
        return f"best {best}" + (f" by {arm.setting}" if arm.setting else "")

    def _summary(self, arms: Sequence[ArmProgress]) -> str:
        ended, running, planned = (
            sum(getattr(arm, name) for arm in arms) for name in ("ended", "running", "planned")
        )
        phases = " and ".join(sorted({arm.phase for arm in arms if arm.phase}))
        during = f" ({phases})" if phases else ""
        elapsed = duration(time.monotonic() - self._start)
        return (
            f"{ended} of {planned} trials ended, {running} running{during}, {elapsed}"
            f"{self._left(arms)}"
        )

    def _left(self, arm_progress: Sequence[ArmProgress]) -> str:
        work = sum(s.work for s in arm_progress)
        done = work - self._work
        if done <= 0:
            return ""
        left = sum(s.planned for s in arm_progress) - work
        return f", about {duration(left / done * (time.monotonic() - self._start))} left"


def begins(phase: str) -> None:
    """Say what a launch does next: some of it takes long, and shows nothing of its own."""
    print(f"{phase} ...", file=sys.stderr, flush=True)


def _news(event: Event) -> str:
    match event:
        case (
            EngineChanged(state="lost")
            | EngineChanged(served=True)
            | EngineChanged(cause="drain")
            | PairChosen()
            | Looked()
            | SearchLooked()
        ):
            return str(event)
        case TrialEnded(state="failed"):
            return f"trial {event.trial} failed: {event.reason}"
        case TrialPlaced(unrecorded=reason) if reason:
            return (
                f"warning: {event.engine} is slower than its GPU: steps are not replayed ({reason})"
            )
        case _:
            return ""


def _once(event: Event) -> str:
    """What the events have in common of which only the first is shown."""
    match event:
        case EngineChanged(served=True):
            return event.host
        case TrialPlaced(unrecorded=reason) if reason:
            return reason
        case _:
            return ""
