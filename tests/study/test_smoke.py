"""The smoke study: killed once in every way, it ends equal to the same study left undisturbed.

Campaigns that kill at random moments, and the other faults, are in the suite ``studies``.
"""

from __future__ import annotations

import copy
import os
import random
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import harness
import pytest
from harness import SPEC, Launch, entries, events, judge, table

from study.journal.events import (
    EngineChanged,
    EngineDied,
    LaunchBegan,
    StudyFinished,
    StudyInterrupted,
)


def smoke_spec() -> dict[str, Any]:
    """The study of the whole-study tests with one arm less, one seed, and shorter trials."""
    spec = copy.deepcopy(SPEC)
    spec["arms"] = {name: spec["arms"][name] for name in ("tpe", "optimal")}
    spec["seeds"] = [0]
    spec["training"] |= {"epochs": 30, "reports": 8}
    return spec


@dataclass(frozen=True)
class Smoke:
    """Both studies, finished, and what the launches of the killed one printed."""

    home: Path
    reference: Path
    killed: str
    interrupted: str
    last: str


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Smoke]:
    """Run the study twice at once: undisturbed on one engine, and with every kill on two."""
    folder = tmp_path_factory.mktemp("smoke")
    home, reference = folder / "studies", folder / "reference"
    spec = smoke_spec()
    try:
        undisturbed = Launch(reference, spec=spec)
        yield kill_in_every_way(home, reference, undisturbed, spec)
    finally:
        for started in (home, reference):
            harness.end_all(started)


def kill_in_every_way(
    home: Path, reference: Path, undisturbed: Launch, spec: dict[str, Any]
) -> Smoke:
    """An engine, the relay, the driver with a torn journal behind it, and Ctrl-C; then the end."""
    run = Launch(home, "--set", "engines.count=2", spec=spec)
    run.reports(2)
    kill(home, "engine")
    run.reports(6)
    kill(home, "relay")
    run.reports(12)
    run.process.kill()
    assert run.end() == -signal.SIGKILL, run.text()
    killed = run.text()
    harness.tear(harness.journal_files(run.study)[-1], random.Random(0))

    run = Launch(home, verb="resume", spec=spec)
    run.reports(3)
    os.killpg(run.pid, signal.SIGINT)  # as a terminal does: to the foreground process group
    assert run.end() == 130, run.text()
    interrupted = run.text()

    last = harness.finish(home, verb="resume", spec=spec).text()
    assert undisturbed.end() == 0, undisturbed.text()
    return Smoke(home, reference, killed, interrupted, last)


def kill(home: Path, kind: str) -> None:
    """SIGKILL the first process of its kind."""
    victim, *_ = harness.processes(home, harness.TITLES[kind])
    assert victim.kill()


def test_its_tables_and_mlflow_runs_equal_the_undisturbed_studys(smoke: Smoke) -> None:
    assert not (found := judge(smoke.home, smoke.reference)), found
    assert Counter(row["arm"] for row in table(smoke.home)) == {"tpe": 5, "optimal": 1}


def test_the_undisturbed_study_is_whole(smoke: Smoke) -> None:
    assert not (found := judge(smoke.reference, smoke.reference)), found
    assert not events(smoke.reference, EngineDied)
    assert len(events(smoke.reference, LaunchBegan)) == 1


def test_its_journal_tells_every_kill(smoke: Smoke) -> None:
    lost = [event.cause for event in events(smoke.home, EngineChanged) if event.state == "lost"]
    assert lost.count("process") == 1
    assert set(lost) <= {"process", "driver"}
    assert events(smoke.home, EngineDied), "the engine was killed while it trained"
    assert [event.epoch for event in events(smoke.home, LaunchBegan)] == [1, 2, 3]
    assert [event.error for event in events(smoke.home, StudyInterrupted)] == [""]
    assert isinstance(entries(smoke.home)[-1].event, StudyFinished)
    sequences = [entry.sequence for entry in entries(smoke.home)]
    assert sequences == [*range(len(sequences))]


def test_the_torn_tail_is_left_out_and_said(smoke: Smoke) -> None:
    assert "no complete entries" in smoke.interrupted
    assert "no complete entries" not in smoke.last


def test_ctrl_c_says_how_to_resume(smoke: Smoke) -> None:
    assert "Resume with: study resume small" in smoke.interrupted


def test_it_ends_with_its_verdict_and_its_files(smoke: Smoke) -> None:
    assert "calibrated -ELBO" in smoke.last
    study = smoke.home / harness.NAME
    assert {"spec.yaml", "journal", "records.parquet", "trials.parquet", "report"} <= {
        path.name for path in study.iterdir()
    }
    assert (study / "report" / "figures" / "search.png").stat().st_size > 1000
    assert {"mlflow.db", "mlartifacts", "data"} <= {path.name for path in smoke.home.iterdir()}


def test_no_process_is_left(smoke: Smoke) -> None:
    assert not harness.left_over(smoke.reference)
    assert not harness.left_over(smoke.home)
