"""A search that goes on until its break-even is bounded, killed on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import harness
import pytest
from harness import BETA, events, judge, table

from study import load
from study.analysis.records.tables import study_facts
from study.journal.events import SearchLooked

TRIALS = {"until": "bounded", "at_most": 9, "batch": 3}
ARMS: dict[str, Any] = {
    "random": {"balancer": "fixed_beta", "search": {"space": {"beta": BETA}, "trials": TRIALS}},
    "optimal": {"balancer": "optimal_sigma"},
}


def spec() -> dict[str, Any]:
    training = {"epochs": 6, "batch_size": 64, "lr": 3e-3, "reports": 3}
    return harness.with_arms(ARMS, training=training)


@pytest.mark.slow  # like test_two_stages.py, of another rule to end by
@pytest.mark.timeout(900)
def test_whatever_is_killed_it_has_the_same_trials_and_looks(tmp_path: Path) -> None:
    home, reference = tmp_path / "studies", tmp_path / "reference"
    try:
        harness.finish(reference, spec=spec())
        # Of 33 reports at least: 3 trials, 2 choosing runs an arm, 2 comparing.
        harness.finish_killed(home, (5, 11), spec=spec())
        assert not (found := judge(home, reference)), found
        looks = events(home, SearchLooked)
        assert looks == events(reference, SearchLooked)
        assert [look.trials for look in looks] == [3, 6, 9][: len(looks)]
        assert looks[-1].bounded or looks[-1].trials == 9
        searched = [row for row in table(home) if row["phase"] == "search"]
        assert len(searched) == looks[-1].trials
        facts = study_facts(load(harness.NAME, home=home, arrow=True)["trials"])
        assert facts["design"] == "two_stages"
        assert [look["trials"] for look in facts["search_looks"]["random"]] == [
            look.trials for look in looks
        ]
        assert not harness.left_over(home)
    finally:
        harness.end_all(home)
        harness.end_all(reference)
