"""SIGINT and SIGTERM while a study runs."""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType

INTERRUPTED = 130


class AbandonedError(BaseException):
    """Tune does not end. Raised while Ray waits, it arrives as a ``SystemError``."""


class Signals:
    """Owns SIGINT and SIGTERM: the first ends the study in order, the second at once.

    Before :meth:`hand_over` there is nothing to suspend, and a signal is a ``KeyboardInterrupt``.
    """

    def __init__(self) -> None:
        self._interrupt: Callable[[], None] | None = None
        self._seen = self._abandoning = self._abandoned = False
        self._former = {}
        if threading.current_thread() is threading.main_thread():  # else the caller owns them
            self._former = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}

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

    def hand_over(self, interrupt: Callable[[], None]) -> None:
        """From now on the first signal calls ``interrupt``."""
        self._interrupt = interrupt

    @contextmanager
    def abandonable(self) -> Iterator[None]:
        """A block that :meth:`abandon` may leave, without an error."""
        try:
            yield
        except (AbandonedError, SystemError):
            if not self._abandoned:
                raise

    def abandon(self) -> None:
        """Raise :class:`AbandonedError` in the main thread, whatever it is waiting for.

        A study that was launched from another thread cannot be reached so, and keeps waiting.
        """
        if self._former:
            self._abandoning = True
            _thread.interrupt_main()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._abandoning:
            self._abandoning, self._abandoned, self._seen = False, True, True
            raise AbandonedError
        if self._seen:
            os._exit(INTERRUPTED)
        self._seen = True
        if self._interrupt is None:
            raise KeyboardInterrupt
        print(
            "interrupted: suspending the running trials in checkpoints "
            "(once more to stop at once; nothing is lost then either)",
            file=sys.stderr,
        )
        self._interrupt()
