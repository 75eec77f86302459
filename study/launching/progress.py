"""Progress of a running study: a table on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import io
import sys
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.table import Table

from study.formatting import duration
from study.journal import Entry, Event
from study.journal.events import EngineChanged, Looked, PairChosen, TrialEnded
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

    def __enter__(self) -> Progress:
        return self

    def show(self, entry: Entry) -> None:
        """Print what a person should know at once: lost engines, failed trials, what is decided."""
        if news := _news(entry.event):
            self._console.print(news, highlight=False, soft_wrap=True)

    def begin(self) -> None:
        """Training starts now; the time left is estimated from here."""
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
            with Live(self._table(), console=self._console, auto_refresh=False) as live:
                while not self._stop.wait(REFRESH):
                    live.update(self._table(), refresh=True)
                live.update(self._table(), refresh=True)
            return
        while not self._stop.wait(LINE):
            self._console.print(self._line(), highlight=False, soft_wrap=True)

    def _in_notebook(self) -> None:
        """A table below the cell, in place; Rich's own needs ipywidgets for that."""
        from IPython.display import display

        def drawn() -> dict[str, str]:
            text = io.StringIO()
            Console(file=text, width=_NOTEBOOK, force_jupyter=False).print(self._table())
            return {"text/plain": text.getvalue()}

        place = display(drawn(), raw=True, display_id=True)
        while not self._stop.wait(REFRESH):
            place.update(drawn(), raw=True)
        place.update(drawn(), raw=True)

    def _table(self) -> Table:
        arm_progress = self._conductor.arm_progress()
        table = Table(
            title=f"{self._spec.name}: {self._summary(arm_progress)}", title_justify="left"
        )
        table.add_column("arm")
        for heading in ("ended", "running", "planned", "best on validation"):
            table.add_column(heading, justify="right")
        for found in arm_progress:
            table.add_row(
                found.arm,
                str(found.ended),
                str(found.running),
                str(found.planned),
                "" if found.best is None else f"{found.best:.2f}",
            )
        return table

    def _line(self) -> str:
        arm_progress = self._conductor.arm_progress()
        best = [s for s in arm_progress if s.best is not None]
        leader = min(best, key=lambda s: s.best or 0.0, default=None)
        ahead = f", best {leader.best:.2f} ({leader.arm})" if leader else ""
        return f"{self._spec.name}: {self._summary(arm_progress)}{ahead}"

    def _summary(self, arm_progress: list[ArmProgress]) -> str:
        ended = sum(s.ended for s in arm_progress)
        running = sum(s.running for s in arm_progress)
        planned = sum(s.planned for s in arm_progress)
        return f"{ended} of {planned} trials ended, {running} running{self._left(arm_progress)}"

    def _left(self, arm_progress: list[ArmProgress]) -> str:
        work = sum(s.work for s in arm_progress)
        done = work - self._work
        if done <= 0:
            return ""
        left = sum(s.planned for s in arm_progress) - work
        return f", about {duration(left / done * (time.monotonic() - self._start))} left"


def _news(event: Event) -> str:
    match event:
        case EngineChanged(state="lost") | PairChosen() | Looked():
            return str(event)
        case TrialEnded(state="failed"):
            return f"trial {event.trial} failed: {event.reason}"
        case _:
            return ""
