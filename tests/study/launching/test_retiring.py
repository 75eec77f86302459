"""When checkpoints go: at once, but those of a population once its search is over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from study.engine import checkpoints
from study.journal import Entry, StudyHome
from study.journal.events import ConfigurationChosen, Event, TrialAsked, TrialEnded
from study.launching.retiring import Retiring
from study.spec import StudySpec


def asked(trial: str, course: dict[str, Any]) -> TrialAsked:
    arm, phase, *_ = trial.split(".")
    return TrialAsked(trial, arm, phase, 0, 0, 0, params={}, settings={}, course=course)


def test_members_of_a_population_keep_theirs_until_the_search_is_over(
    told_spec: StudySpec, tmp_path: Path
) -> None:
    home = StudyHome(tmp_path, "told")
    retiring, course = Retiring(told_spec, home), {"first": 0}
    trials = {"pbt.search.r0.0000": course, "pbt.search.r0.0001": course, "random.search.r0.0": {}}

    def follow(event: Event) -> None:
        retiring.follow(Entry(0, 0.0, event))

    def kept() -> list[str]:
        return [trial for trial in trials if home.trial(trial).exists()]

    for trial, stage in trials.items():
        checkpoints.write(home.trial(trial), 10, b"a checkpoint", epoch=1, keep="none")
        follow(asked(trial, stage))
    assert kept() == [*trials]
    for trial in trials:
        follow(TrialEnded(trial, "complete", 2, 1.0))
    assert kept() == ["pbt.search.r0.0000", "pbt.search.r0.0001"]
    follow(ConfigurationChosen("random", 0, 0, 1.0))
    assert kept() == ["pbt.search.r0.0000", "pbt.search.r0.0001"]
    follow(ConfigurationChosen("pbt", 0, 0, 1.0))
    assert kept() == []
