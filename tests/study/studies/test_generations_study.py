"""A study with an arm by population based training, killed on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import harness
import pytest
from harness import BETA, SPEC, events, judge, table

from study.journal import StudyHome
from study.journal.course import Course
from study.journal.events import TrialAsked
from study.verifying.retrain import verify

POPULATION, GENERATIONS = 4, 3
RATE = {"low": 1e-3, "high": 1e-2, "log": True}
ARMS: dict[str, Any] = {
    "pbt": {
        "balancer": "fixed_beta",
        "search": {
            "space": {"beta": BETA, "training.lr": RATE},
            "sampler": {"name": "pbt", "population": POPULATION},
            "trials": POPULATION * GENERATIONS,
        },
    },
    "optimal": SPEC["arms"]["optimal"],
}


def spec() -> dict[str, Any]:
    training = {"epochs": 6, "batch_size": 64, "lr": 3e-3, "reports": 6}
    return harness.with_arms(
        ARMS, training=training, primary={"hand_tuned": "pbt", "automatic": "optimal"}
    )


@pytest.mark.timeout(600)
def test_whatever_is_killed_the_same_course_is_found_and_trained(tmp_path: Path) -> None:
    home, reference = tmp_path / "studies", tmp_path / "reference"
    try:
        harness.finish(reference, spec=spec())
        # In the first generation, and in the second.
        harness.finish_killed(home, (5, 8), "--set", "engines.count=2", spec=spec())
        assert not (found := judge(home, reference)), found
        asked = {event.trial: event for event in events(home, TrialAsked)}
        courses = {name: Course.of(event.course) for name, event in asked.items()}
        assert courses == {e.trial: Course.of(e.course) for e in events(reference, TrialAsked)}
        rows = table(home)
        whole = max(row["images"] for row in rows if row["arm"] == "optimal")
        for row in rows:
            if row["arm"] == "pbt" and row["phase"] == "search":
                assert row["images"] == whole / GENERATIONS, "each trial is charged its own stage"
        members = [name for name in asked if name.startswith("pbt.search")]
        left = [name for name in members if any(checkpoints_of(home, name))]
        assert not left, "checkpoints of members go once the search is over"
        assert not harness.left_over(home)
        child = next(name for name in reversed(members) if asked[name].course.get("parent"))
        again = verify(StudyHome(home, harness.NAME), child)  # it has no parent there to go on from
        assert again.agrees, str(again)
    finally:
        harness.end_all(home)
        harness.end_all(reference)


def checkpoints_of(home: Path, trial: str) -> list[Path]:
    return [*(home / harness.NAME / "trials" / trial).glob("*.ckpt")]
