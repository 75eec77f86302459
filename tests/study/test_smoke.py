"""The smoke study (``smoke.py``): whatever is killed, it ends equal to the undisturbed one.

Campaigns that kill at random moments, and other faults, are in the suite ``studies``.
"""

from __future__ import annotations

from collections import Counter

import harness
import pytest
from harness import entries, events, judge, table
from smoke import Smoke

from study.journal.events import (
    EngineChanged,
    EngineDied,
    LaunchBegan,
    StudyFinished,
    StudyInterrupted,
)

pytestmark = pytest.mark.timeout(900)


def test_its_tables_and_mlflow_runs_equal_the_undisturbed_studys(smoke: Smoke) -> None:
    assert not (found := judge(smoke.home, smoke.reference)), found
    assert Counter(row["arm"] for row in table(smoke.home)) == {"random": 4, "tpe": 6, "optimal": 2}


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
    assert "calibrated negative ELBO" in smoke.last
    study = smoke.home / harness.NAME
    assert {"spec.yaml", "journal", "records.parquet", "trials.parquet", "report"} <= {
        path.name for path in study.iterdir()
    }
    assert (study / "report" / "figures" / "search.png").stat().st_size > 1000
    assert {"mlflow.db", "mlartifacts", "data"} <= {path.name for path in smoke.home.iterdir()}


@pytest.fixture
def left(smoke: Smoke) -> list[harness.Process]:
    """What stays of both studies; Ray's agents end a minute after the driver was killed."""
    return [*harness.left_over(smoke.reference), *harness.left_over(smoke.home)]


def test_no_process_is_left(left: list[harness.Process]) -> None:
    assert not left
