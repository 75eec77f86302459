"""When a study must end because Ray, or every engine, is gone."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from study.formatting import duration
from study.journal.home import command_line
from study.scheduling.held import Held
from study.scheduling.nodes import Nodes
from vae_core.errors import UserError

OUTAGE = 15.0
"""Seconds that Ray's head may be silent; Ray itself ends the driver's process after 60."""
IDLE = 120.0
"""Seconds without an engine, or a sign of one, after which the study ends."""
SAID = 30.0
"""Seconds of it after which that is said."""
GROWING = 1800.0
"""Instead of :data:`IDLE`, where a number of engines is asked for and Ray has placed none: a
cluster that grows by itself takes minutes."""
SEE = "`ray status` shows the nodes and what waits for them; a node's Ray logs, why a process ended"


class EngineError(UserError):
    """The engines, or the Ray under them, cannot work."""

    exit_code = 1


class Outages:
    """Watches how long Ray's head is silent, and how long there is no engine.

    Args:
        nodes: the cluster's.
        home: the study's folder, for the command that resumes it.
        growing: whether the cluster may grow to what it was asked for.

    Attributes:
        ray_died: whether Ray is gone; calls to actors may then wait without an end.
    """

    def __init__(self, nodes: Nodes, home: Path, *, growing: bool) -> None:
        self._nodes, self._home, self._growing = nodes, home, growing
        self._silent: float | None = None  # since when the head is
        self._progress, self._said = time.monotonic(), False
        self.ray_died = False

    def check_ray(self) -> None:
        """Check that Ray is alive.

        Raises:
            EngineError: it has died, on this machine or on its head.
        """
        now = time.monotonic()
        if not self._nodes.is_up(self._nodes.here):
            self.ray_died = True
            raise self._error("Ray has died on this machine", "nothing is lost")
        if self._nodes.head_answers():
            self._silent = None
        elif self._silent is None:
            self._silent = now
            head = f"Ray's head does not answer at {self._nodes.head}"
            say(f"{head}: the study ends unless it does within {duration(OUTAGE)}")
        elif now > self._silent + OUTAGE:
            self.ray_died = True
            raise self._error("Ray's head has died", "nothing is lost", where=self._nodes.head)

    def progressed(self) -> None:
        """Note that an engine has come nearer."""
        self._progress = time.monotonic()

    def check_engines(self, engines: Sequence[Held]) -> None:
        """Check that there is an engine, or will be: other work of the cluster is waited for.

        Raises:
            EngineError: none can start, or there has long been no sign of one.
        """
        if any(held.node for held in engines):
            self._said = False
            self.progressed()
            return
        failure = self._nodes.failure()
        if failure is not None and self._nodes.none_left:
            raise self.fails("an engine", *failure)
        waits = failure is None and not any(held.place for held in engines)
        taken = waits and bool(self._nodes.rooms())
        idle = time.monotonic() - self._progress
        what = f"no engine for {duration(idle)}: {self._why(failure, waits=waits)}"
        if not taken and idle > (GROWING if self._growing and waits else IDLE):
            raise self._error(what, SEE)
        if idle > SAID and not self._said:
            self._said = True
            say(f"{what}. {SEE}")

    def fails(self, what: str, node: str, error: str) -> EngineError:
        """The error to raise where an actor does not start on any ``node``, given by its id."""
        return self._error(
            f"{what} does not start: {error}",
            "every node needs the same packages as this machine; that node's Ray logs say more",
            where=self._nodes.name(node),
        )

    def _why(self, failure: tuple[str, str] | None, *, waits: bool) -> str:
        if failure is not None:
            return f"the last did not start on {self._nodes.name(failure[0])}: {failure[1]}"
        if not waits:
            return "those that were asked for have not come up"
        if self._nodes.rooms():
            others = ", ".join(s for s in self._nodes.studies() if s != self._home.name)
            of = f" ({others})" if others else ""
            return f"other work{of} has every {self._nodes.resource}, and this study waits for one"
        return f"there is no node with a {self._nodes.resource} to use"

    def _error(self, what: str, remedy: str, *, where: str = "") -> EngineError:
        resume = command_line("resume", self._home)
        return EngineError(what, where=where, remedy=f"{remedy}. Resume with: {resume}")


def say(line: str) -> None:
    """Tell the person who launched the study."""
    print(line, file=sys.stderr)
