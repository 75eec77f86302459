"""What reaches a running study from outside: signals, orders, caps, the loss of its lease."""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING

from study.journal.orders import Order, described, waiting
from vae_core.errors import UserError

if TYPE_CHECKING:
    from study.scheduling.fleet import Fleet
    from study.search import Conductor

TICK = 0.25
"""Seconds between looks."""
GRACE = 15.0
"""Seconds Tune has to end once every trial has been let go: where Ray has died, it never will."""
INTERRUPTED = 130


class AbandonedError(BaseException):
    """Tune does not end. Out of Ray's own waiting it comes as a ``SystemError``."""


class Signals:
    """Owns SIGINT and SIGTERM: the first ends the study in order, the second at once.

    Before :meth:`hand_over` there is nothing to be put in order, and a signal is a
    ``KeyboardInterrupt``.
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
        """What happens within may be left by :meth:`abandon`, without an error."""
        try:
            yield
        except (AbandonedError, SystemError):
            if not self._abandoned:
                raise

    def abandon(self) -> None:
        """Raise :class:`AbandonedError` in the main thread, whatever it waits for.

        A study that was launched from another thread cannot be reached so, and waits on.
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
            "interrupted: putting the running trials down in checkpoints "
            "(once more to stop at once; nothing is lost then either)",
            file=sys.stderr,
        )
        self._interrupt()


class Steering:
    """Looks out, in a thread of its own, for what a running study has to be told.

    Args:
        conductor: the study.
        fleet: its engines.
        home: the study's folder, where orders are left.
        signals: how to reach the main thread.
    """

    def __init__(self, conductor: Conductor, fleet: Fleet, home: Path, signals: Signals) -> None:
        self._conductor, self._fleet, self._home = conductor, fleet, home
        self._signals = signals
        for path, order in waiting(home):
            if order == {"order": "stop"}:  # meant for a driver that is gone
                path.unlink(missing_ok=True)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look_out, daemon=True, name="steering")

    def __enter__(self) -> Steering:
        self._take_orders()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _look_out(self) -> None:
        ended_at: float | None = None
        while not self._stop.wait(TICK):
            for look in (self._heed, self._put_down):
                try:
                    look()
                except Exception as error:  # to be raised where the study is run
                    self._conductor.fail(error)
            if self._conductor.interrupted:
                ended_at = ended_at or time.monotonic()
                if time.monotonic() > ended_at + GRACE:
                    self._signals.abandon()
                    return

    def _heed(self) -> None:
        """See whether the study is still this driver's, and what it is to do."""
        self._conductor.journal.check()
        self._fleet.check()
        self._take_orders()
        self._conductor.check_caps(time.time())

    def _put_down(self) -> None:
        """If the study is to end, have the engines put down what they train.

        Tune then finds every trial over. Until it does, again and again: a trial may have been on
        its way to an engine.
        """
        if not self._conductor.interrupted:
            return
        suspended = self._fleet.suspend()
        if self._conductor.failure is None:
            for engine, seconds in suspended.items():
                self._conductor.suspended(engine, seconds)

    def _take_orders(self) -> None:
        for path, order in waiting(self._home):
            try:
                self._obey(order)
                print(f"by order: {described(order)}", file=sys.stderr)
            except UserError as error:
                if error.exit_code == 1:
                    raise
                print(f"not done: {described(order)}: {error.what}", file=sys.stderr)
            path.unlink(missing_ok=True)

    def _obey(self, order: Order) -> None:
        if order["order"] == "retry":
            self._conductor.retry(order["trial"])
        elif "trial" in order or "arm" in order:
            of = {key: order[key] for key in ("trial", "arm") if key in order}
            for name in self._conductor.stop(**of):
                self._fleet.release(name)
        else:
            self._conductor.interrupt()
