"""What reaches a running study from outside: signals, orders, caps, the loss of its lease."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from study.journal.commands import Order, described, waiting
from study.launching.signals import Signals
from vae_core.errors import UserError

if TYPE_CHECKING:
    from study.scheduling.fleet import Fleet
    from study.search import Conductor

TICK = 0.25
"""Seconds between looks."""
GRACE = 15.0
"""Seconds Tune has to end once every trial has been let go: where Ray has died, it never will."""


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
