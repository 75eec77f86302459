"""Studies that choose their pair and add seeds until it is decided, killed on the way."""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path
from typing import Any

import harness
import pytest
from harness import BETA, Launch, events, judge, table

from study import load
from study.analysis.records.tables import study_facts
from study.journal.events import Looked, PairChosen, TrialAsked

ARMS: dict[str, Any] = {
    "random": {"balancer": "fixed_beta", "search": {"space": {"beta": BETA}, "trials": 3}},
    "one": {"balancer": {"name": "fixed_beta", "beta": 1}},
    "optimal": {"balancer": "optimal_sigma"},
    "learned": {"balancer": "learned_sigma"},
}
SEEDS = {"until": "decided", "at_most": 12}


def spec() -> dict[str, Any]:
    training = {"epochs": 6, "batch_size": 64, "lr": 3e-3, "reports": 3}
    return harness.with_arms(ARMS, seeds=SEEDS, training=training)


@pytest.mark.timeout(900)
def test_whatever_is_killed_the_same_pair_is_compared_at_the_same_looks(tmp_path: Path) -> None:
    home, reference = tmp_path / "studies", tmp_path / "reference"
    try:
        harness.finish(reference, spec=spec())
        # 9 reports are the search's, 24 the choosing runs', 54 the first batch's.
        run = Launch(home, "--set", "engines.count=2", spec=spec())
        for more, verb in ((14, "resume"), (22, "resume"), (30, "")):
            run.reports(more)
            run.process.kill()
            assert run.end() == -signal.SIGKILL, run.text()
            if verb:
                run = Launch(home, verb=verb, spec=spec())
        harness.finish(home, verb="resume", spec=spec())
        assert not (found := judge(home, reference)), found
        (pair,), looks = events(home, PairChosen), events(home, Looked)
        assert [pair] == events(reference, PairChosen)
        assert looks == events(reference, Looked)
        assert [look.seeds for look in looks] == [9, 12][: len(looks)]
        assert all(look.outcome == "undecided" for look in looks[:-1])
        counts = Counter((row["arm"], row["stage"]) for row in table(home))
        for arm in ARMS:
            assert counts[arm, "choosing"] == 2
            compared = looks[-1].seeds if arm in (pair.hand, pair.automatic) else 0
            assert counts[arm, "comparing"] == compared
        facts = study_facts(load(harness.NAME, home=home, arrow=True)["trials"])
        assert (facts["design"], facts["pair"]["hand"]) == ("two_stages", pair.hand)
        assert [look["seeds"] for look in facts["looks"]] == [look.seeds for look in looks]
        assert not harness.left_over(home)
    finally:
        harness.end_all(home)
        harness.end_all(reference)


@pytest.mark.timeout(600)
def test_a_finished_study_is_extended_by_its_command_line(tmp_path: Path) -> None:
    """More seeds for the pair alone; another pair in its place is refused."""
    home = tmp_path / "studies"
    small = {**spec(), "seeds": {"count": 1}}
    small["training"] = {**small["training"], "epochs": 2, "reports": 1}
    try:
        harness.finish(home, spec=small)
        before = len(events(home, TrialAsked))
        harness.finish(home, "--set", "seeds={count: 3}", verb="resume", spec=small)
        assert len(events(home, TrialAsked)) == before + 4
        named = "primary={hand_tuned: one, automatic: optimal}"
        refused = Launch(home, "--set", named, verb="resume", spec=small)
        assert refused.end() == 2
        assert "the study has begun by choosing its pair of arms" in refused.text()
    finally:
        harness.end_all(home)
