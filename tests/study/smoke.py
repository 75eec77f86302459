"""The smoke study: a small study, killed once in every way, beside the same one undisturbed."""

from __future__ import annotations

import copy
import os
import random
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import harness
from harness import SPEC, Launch

from study.journal.events import EngineChanged


def smoke_spec() -> dict[str, Any]:
    """The study of the whole-study tests, with fewer and shorter trials."""
    spec = copy.deepcopy(SPEC)
    spec["arms"]["random"]["search"]["trials"] = 2
    spec["training"] |= {"epochs": 20, "reports": 6}
    return spec


@dataclass(frozen=True)
class Smoke:
    """Both studies, finished, and what the launches of the killed one printed."""

    home: Path
    reference: Path
    """The home of the undisturbed one."""
    interrupted: str
    """By the launch that Ctrl-C ended."""
    last: str
    """By the launch that finished the study."""


def run(folder: Path) -> Iterator[Smoke]:
    """Run both studies at once in ``folder``; at the end, no process of theirs is left."""
    home, reference = folder / "studies", folder / "reference"
    try:
        undisturbed = Launch(reference, spec=smoke_spec())
        interrupted, last = _kill_in_every_way(home)
        assert undisturbed.end() == 0, undisturbed.text()
        yield Smoke(home, reference, interrupted, last)
    finally:
        for started in (home, reference):
            harness.end_all(started)


def _kill_in_every_way(home: Path) -> tuple[str, str]:
    """Kill the engine, the relay and the driver, tear the journal, press Ctrl-C; then finish."""
    spec = smoke_spec()
    run = Launch(home, spec=spec)
    run.reports(2)
    _kill(home, "engine")  # the only one: until there is another, the study gets no further
    run.until(lambda: _lost(home), "the engine's death to be journalled")
    run.reports(6)
    _kill(home, "relay")
    run.reports(12)
    run.process.kill()
    assert run.end() == -signal.SIGKILL, run.text()
    harness.tear(harness.journal_files(run.study)[-1], random.Random(0))

    run = Launch(home, "--set", "engines.count=2", verb="resume", spec=spec)
    run.reports(3)
    os.killpg(run.pid, signal.SIGINT)  # as a terminal does: to the foreground process group
    assert run.end() == 130, run.text()
    interrupted = run.text()
    return interrupted, harness.finish(home, verb="resume", spec=spec).text()


def _lost(home: Path) -> bool:
    """Whether an engine is known to be gone: the driver, killed before, would never tell."""
    return any(event.state == "lost" for event in harness.events(home, EngineChanged))


def _kill(home: Path, kind: str) -> None:
    (victim,) = harness.processes(home, harness.TITLES[kind])
    assert victim.kill()
