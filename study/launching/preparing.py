"""The images of a study, prepared with the progress on stderr."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
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


class _GivenUpError(Exception):
    """Nobody waits for the images any more."""


def prepare_images(
    spec: StudySpec,
    store: Path,
    data_root: Path | None,
    console: Console | None = None,
    *,
    over: threading.Event | None = None,
) -> PreparedData:
    """Prepare the images of ``spec`` in ``store``.

    Args:
        spec: the study.
        store: where they are kept.
        data_root: where they come from, if that is not in the spec.
        console: of the progress; by default stderr.
        over: set, they are given up: after the next few at most.

    Raises:
        UserError: the data cannot be used (:func:`vae_core.data.prepare`).
    """
    with _Progress(console or Console(file=sys.stderr), over or threading.Event()) as progress:
        return prepare(spec.data.settings, store, data_root, progress)


@contextmanager
def prepared_beside(
    spec: StudySpec, store: Path, data_root: Path | None
) -> Iterator[Future[PreparedData]]:
    """A block beside which images are prepared; where it fails they are given up."""
    over = threading.Event()
    with ThreadPoolExecutor(1) as thread:
        try:
            yield thread.submit(prepare_images, spec, store, data_root, over=over)
        except BaseException:
            over.set()
            raise


def as_begun(data: PreparedData, entries: Iterable[Entry]) -> PreparedData:
    """``data``; without the validation images it brings, if the study was begun without them."""
    for entry in entries:
        if isinstance(entry.event, StudyDescribed):
            used = entry.event.data.get("sha256", data.sha256)
            return data if VALIDATION in used else data.without_validation()
    return data


class _Progress:
    """Images done, on one line of a terminal that then goes, or on a line every few seconds."""

    def __init__(self, console: Console, over: threading.Event) -> None:
        self._console, self._over = console, over
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._shown = self._start = time.monotonic()

    def __call__(self, split: str, done: int, count: int | None) -> None:
        if self._over.is_set():
            raise _GivenUpError
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
