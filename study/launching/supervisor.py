"""What reaches a running study from outside: commands, caps, the loss of its lease or of Ray."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from study.journal.commands import STOP, Command, describe, pending
from study.launching.signals import Signals
from vae_core.errors import UserError

if TYPE_CHECKING:
    from study.scheduling.fleet import Fleet
    from study.search import Conductor

TICK = 0.25
"""Seconds between polls."""
GRACE = 15.0
"""Seconds Tune has to end once every trial is released: where Ray has died, it never does."""


class Supervisor:
    """Watches, in a thread of its own, for what a running study must act on.

    Args:
        conductor: the study.
        fleet: its engines.
        home: the study's folder, where commands are left.
        signals: how to reach the main thread.
    """

    def __init__(self, conductor: Conductor, fleet: Fleet, home: Path, signals: Signals) -> None:
        self._conductor, self._fleet, self._home = conductor, fleet, home
        self._signals = signals
        for path, command in pending(home):
            if command == STOP:  # meant for a driver that has ended
                path.unlink(missing_ok=True)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="supervisor")

    def __enter__(self) -> Supervisor:
        self._take_commands()
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

    def _watch(self) -> None:
        ended_at: float | None = None
        while not self._stop.wait(TICK):
            for act in (self._poll, self._suspend_if_ending):
                try:
                    act()
                except Exception as error:  # to be raised where the study runs
                    self._conductor.fail(error)
            if self._conductor.interrupted:
                ended_at = ended_at or time.monotonic()
                if time.monotonic() > ended_at + GRACE:
                    self._signals.abandon()
                    return

    def _poll(self) -> None:
        """Check the lease, Ray, commands and caps."""
        self._conductor.journal.check()
        self._fleet.check()
        self._take_commands()
        self._conductor.check_caps(self._conductor.journal.clock.now())

    def _suspend_if_ending(self) -> None:
        """Have the engines suspend their trials if the study is ending.

        Tune then finds every trial over. Repeated until it does: a trial may have been on its way
        to an engine.
        """
        if not self._conductor.interrupted:
            return
        suspended = self._fleet.suspend()
        if self._conductor.failure is None:
            for engine, seconds in suspended.items():
                self._conductor.suspended(engine, seconds)

    def _take_commands(self) -> None:
        for path, command in pending(self._home):
            try:
                self._execute(command)
                print(f"executing: {describe(command)}", file=sys.stderr)
            except UserError as error:
                if error.exit_code == 1:
                    raise
                print(f"not possible: {describe(command)}: {error.what}", file=sys.stderr)
            path.unlink(missing_ok=True)

    def _execute(self, command: Command) -> None:
        if command["order"] == "retry":
            self._conductor.retry(command["trial"])
        elif "trial" in command or "arm" in command:
            of = {key: command[key] for key in ("trial", "arm") if key in command}
            for name in self._conductor.stop(**of):
                self._fleet.release(name)
        else:
            self._conductor.interrupt()
