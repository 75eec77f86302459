"""What reaches a running study from outside: commands, caps, the loss of its lease or of Ray."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from study.journal.commands import STOP, Command, describe, pending
from vae_core.errors import UserError

if TYPE_CHECKING:
    from study.scheduling.fleet import Fleet
    from study.search import Conductor

TICK = 0.25
"""Seconds between polls."""
GRACE, WITHOUT_RAY = 15.0, 4.0
"""Seconds Tune has to end once every trial is released; and where Ray has died: it may never."""


def heed_stop(conductor: Conductor, home: Path) -> bool:
    """Whether the study is to end, by a signal or by a command, before any engine runs.

    All other commands wait for the supervisor.
    """
    for path, command in pending(home):
        if command == STOP:
            print(f"executing: {describe(command)}", file=sys.stderr)
            conductor.interrupt()
            path.unlink(missing_ok=True)
    return conductor.interrupted


def execute_commands(conductor: Conductor, home: Path) -> list[str]:
    """Execute all pending commands; return the trials that they ended while an engine had them.

    One that is not possible any more is dropped.
    """
    ended: list[str] = []
    for path, command in pending(home):
        try:
            ended += _execute(command, conductor)
            print(f"executing: {describe(command)}", file=sys.stderr)
        except UserError as error:
            if error.exit_code == 1 or conductor.journal.refuses:  # it was cut short
                raise
            print(f"not possible: {describe(command)}: {error.what}", file=sys.stderr)
        path.unlink(missing_ok=True)
    return ended


def _execute(command: Command, conductor: Conductor) -> list[str]:
    if command["order"] == "retry":
        conductor.retry(command["trial"])
        return []
    if command == STOP:
        conductor.interrupt()
        return []
    return conductor.stop(**{key: command[key] for key in ("trial", "arm") if key in command})


class Supervisor:
    """Watches, in a thread of its own, for what a running study must act on.

    Args:
        conductor: the study.
        fleet: its engines.
        home: the study's folder, where commands are left.
    """

    def __init__(self, conductor: Conductor, fleet: Fleet, home: Path) -> None:
        self._conductor, self._fleet, self._home = conductor, fleet, home
        self._stop, self._over = threading.Event(), threading.Event()
        self._error: BaseException | None = None
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

    def run(self, work: Callable[[], None]) -> None:
        """Run ``work`` to its end, or until it is abandoned.

        It has a thread of its own, because where Ray has died its calls may never return.
        """
        threading.Thread(target=self._work, args=(work,), daemon=True, name="work").start()
        self._over.wait()
        if self._error is not None:
            raise self._error

    def _work(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # to be raised where the study runs
            self._error = error
        self._over.set()

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
                if time.monotonic() > ended_at + (WITHOUT_RAY if self._fleet.ray_died else GRACE):
                    self._over.set()
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
        if self._conductor.interrupted:
            self._fleet.suspend()

    def _take_commands(self) -> None:
        for name in execute_commands(self._conductor, self._home):
            self._fleet.release(name)
