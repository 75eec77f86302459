"""SIGINT, SIGTERM and SIGHUP while a study runs."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType, TracebackType

INTERRUPTED = 130
SUSPENDING = (
    "suspending the running trials in checkpoints "
    "(once more to stop at once; nothing is lost then either)"
)
REPORTING = "the report is being written (once more to stop at once; `study report` writes it then)"


class Signals:
    """Owns SIGINT and SIGTERM: the first ends the study in order, the second at once.

    And SIGHUP, which ends it in order only, because the kernel and the shell send one each where a
    terminal closes; not where it is ignored, as ``nohup`` has it. Before :meth:`hand_over` there is
    nothing to suspend, and a signal is a ``KeyboardInterrupt``.
    """

    def __init__(self) -> None:
        self._interrupt: Callable[[], object] | None = None
        self._saying = ""
        self._seen = False
        self._former = {}
        if threading.current_thread() is threading.main_thread():  # else the caller owns them
            self._former = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
            if (hangup := signal.getsignal(signal.SIGHUP)) is not signal.SIG_IGN:
                self._former[signal.SIGHUP] = hangup

    def __enter__(self) -> Signals:
        self.own()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def own(self) -> None:
        """Take the signals, again if a library has taken them meanwhile."""
        for number in self._former:
            signal.signal(number, self._handle)

    def hand_over(self, interrupt: Callable[[], object], saying: str) -> None:
        """From now on the first signal prints what it does, and calls ``interrupt``."""
        self._interrupt, self._saying = interrupt, saying

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._seen and number == signal.SIGHUP:
            return
        if self._seen:
            os._exit(INTERRUPTED)
        self._seen = True
        if self._interrupt is None:
            raise KeyboardInterrupt
        print(f"interrupted: {self._saying}", file=sys.stderr)
        self._interrupt()
