"""A live study told from another terminal what to do, and ended by a cap of its spec."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import harness
import pytest
from harness import SPEC, Launch, events

from study import load

ARMS: dict[str, Any] = {
    "random": {
        "balancer": "fixed_beta",
        "search": {"space": {"beta": {"low": 1e-3, "high": 10, "log": True}}, "trials": 3},
    },
    "optimal": {"balancer": "optimal_sigma"},
    "learned": {"balancer": "learned_sigma"},
}
STOPPED = "random.search.r0.0001"


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    home = tmp_path / "studies"
    yield home
    harness.end_all(home)


def said(home: Path, *words: str) -> str:
    """What ``study WORDS`` prints."""
    command = [sys.executable, "-m", "study", *words, "--home", str(home)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=150)
    assert done.returncode == 0, done.stderr
    return done.stdout


def ended(home: Path, reason: str) -> set[str]:
    return {e.data["trial"] for e in events(home) if e.kind == "end" and e.data["reason"] == reason}


@pytest.mark.timeout(600)
def test_orders_reach_a_live_study_and_caps_end_it_with_a_report(home: Path) -> None:
    spec = {**copy.deepcopy(SPEC), "arms": ARMS}
    spec["training"] |= {"epochs": 180}  # long enough for two orders to arrive
    run = Launch(home, "--set", "engines.count=2", spec=spec)
    run.reports(1)
    said(home, "stop", "small", "--trial", STOPPED)
    said(home, "stop", "small", "--arm", "optimal")
    by_hand = "stopped by hand"
    run.until(lambda: len(ended(home, by_hand)) == 3, "both orders to be carried out")
    assert ended(home, by_hand) == {STOPPED, *(f"optimal.confirm.r0.fixed.000{i}" for i in (0, 1))}
    run.reports(1)
    said(home, "stop", "small")
    assert run.end() == 130, run.text()
    assert events(home)[-1].kind == "interrupted"
    assert not harness.left_over(home)

    assert "resume" in said(home, "retry", "small", STOPPED)  # that is when it takes effect
    images = sum(
        trial["images"] for trial in load("small", home=home, arrow=True)["trials"].to_pylist()
    )
    capped = harness.finish(home, "--set", f"max_images={images + 1}", verb="resume", spec=spec)
    assert "max_images" in capped.text()
    cap = next(e.data for e in events(home) if e.kind == "cap")
    assert (cap["cap"], cap["limit"]) == ("max_images", images + 1)
    assert cap["spent"] > images

    again = harness.finish(home, verb="resume", spec=spec)  # the cap stands: nothing runs
    assert "max_images" in again.text()
    harness.finish(home, "--set", "max_images=null", verb="resume", spec=spec)
    assert events(home)[-1].kind == "finish"
    states = {
        t["trial"]: t["state"] for t in load("small", home=home, arrow=True)["trials"].to_pylist()
    }
    assert states[STOPPED] == "pruned"
    assert states[f"{STOPPED}.retry1"] == "complete"
    assert {state for name, state in states.items() if name.startswith("optimal")} == {"pruned"}
    assert {state for name, state in states.items() if name.startswith("learned")} == {"complete"}
    assert not harness.judge(home, home)
    assert not harness.left_over(home)
