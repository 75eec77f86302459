"""The images of a study, prepared with the progress on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.text import Text

from study.journal import Entry
from study.journal.events import StudyDescribed
from study.spec import StudySpec
from vae_core.data import VALIDATION, PreparedData, prepare

SOON = 1.0
"""Seconds after which progress shows on a terminal."""
LINE = 10.0
"""Seconds between lines elsewhere."""


def prepare_images(
    spec: StudySpec, store: Path, data_root: Path | None, console: Console | None = None
) -> PreparedData:
    """Prepare the images of ``spec`` in ``store``; ``console`` is by default stderr.

    Raises:
        UserError: the data cannot be used (:func:`vae_core.data.prepare`).
    """
    with _Progress(console or Console(file=sys.stderr)) as progress:
        return prepare(spec.data.settings, store, data_root, progress)


def as_begun(data: PreparedData, entries: Iterable[Entry]) -> PreparedData:
    """``data``; without the validation images it brings, if the study was begun without them."""
    for entry in entries:
        if isinstance(entry.event, StudyDescribed):
            used = entry.event.data.get("sha256", data.sha256)
            return data if VALIDATION in used else data.without_validation()
    return data


class _Progress:
    """Images done, on one line of a terminal that then goes, or on a line every few seconds."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._shown = self._start = time.monotonic()

    def __call__(self, split: str, done: int, count: int | None) -> None:
        now = time.monotonic()
        if done == 0:
            self._start = now
        if now - self._shown < (SOON if self._console.is_terminal else LINE):
            return
        self._shown = now
        of = "" if count is None else f" of {count:,}"
        rate = f", {done / (now - self._start):,.0f} a second" if done else ""
        line = f"preparing {split}: {done:,}{of} images{rate}"
        if self._console.is_terminal:
            self._live.start()
            self._live.update(Text(line), refresh=True)
        else:
            self._console.print(line, highlight=False, soft_wrap=True)

    def __enter__(self) -> _Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()
