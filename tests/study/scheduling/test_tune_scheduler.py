"""What the scheduler makes of a trial's result, without Tune and without engines."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from ray.tune.schedulers import TrialScheduler

from study.scheduling.outages import EngineError
from study.scheduling.tune.interfaces import StudyScheduler

STOP, CONTINUE = TrialScheduler.STOP, TrialScheduler.CONTINUE


class Stage:
    """A scheduler between stand-ins; no call of them ends the trial or the study."""

    def __init__(self, home: Path) -> None:
        self.trial = SimpleNamespace(trial=SimpleNamespace(alone=False), ended=False)
        journal = SimpleNamespace(home=home)
        self.conductor = Mock(trials={"t": self.trial}, journal=journal, interrupted=False)
        self.conductor.report.return_value = self.conductor.died.return_value = False
        self.fleet = Mock()
        self.fleet.died_with_its_node.return_value = False
        self._scheduler = StudyScheduler(self.conductor, self.fleet)

    def take(self, *reports: dict[str, Any], died: str = "") -> str:
        result = {"trial": "t", "reports": list(reports), "died": died, "over": False}
        return self._scheduler.on_trial_result(None, Mock(), result)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path / "studies" / "kept")


def test_a_storage_error_ends_the_study_and_is_no_report_of_the_trial(stage: Stage) -> None:
    report = {"step": 1}
    assert stage.take(report, {"storage_error": "cannot write: No space left"}) == STOP
    stage.conductor.report.assert_called_once_with("t", report)
    (error,) = stage.conductor.fail.call_args.args
    assert isinstance(error, EngineError)
    assert "cannot write: No space left" in str(error)
    assert "study resume kept" in str(error)
    stage.fleet.release.assert_called_once_with("t")


def test_a_storage_error_of_a_trial_that_has_ended_is_none(stage: Stage) -> None:
    """Its checkpoints are removed at once, under an engine that may still be saving one."""
    stage.trial.ended = True
    assert stage.take({"storage_error": "cannot write: No such file or directory"}) == STOP
    stage.conductor.fail.assert_not_called()
    stage.fleet.release.assert_called_once_with("t")


@pytest.mark.parametrize("node_too", [False, True])
def test_an_engine_s_death_counts_against_its_trial_unless_its_node_is_gone_too(
    stage: Stage, node_too: bool
) -> None:
    stage.fleet.died_with_its_node.return_value = node_too
    assert stage.take(died="engine-3") == CONTINUE
    assert stage.conductor.died.call_count == (0 if node_too else 1)
    stage.fleet.release.assert_not_called()
    stage.conductor.fail.assert_not_called()


def test_a_trial_that_has_taken_too_many_engines_down_gives_its_slot_back(stage: Stage) -> None:
    stage.conductor.died.return_value = True
    assert stage.take({"step": 1}, died="engine-3") == STOP
    stage.conductor.report.assert_not_called()
    stage.fleet.release.assert_called_once_with("t")
