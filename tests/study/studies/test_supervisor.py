"""A running study that executes commands from another terminal, and one that a cap ends."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import harness
import pytest
from harness import Launch, entries, events
from ray.cluster_utils import Cluster

from study import load
from study.journal.events import CapReached, StudyFinished, StudyInterrupted, TrialEnded

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
    return {event.trial for event in events(home, TrialEnded) if event.reason == reason}


@pytest.mark.timeout(600)
def test_commands_reach_a_running_study_and_caps_end_it_with_a_report(home: Path) -> None:
    spec = harness.with_arms(ARMS, primary={"hand_tuned": "random", "automatic": "learned"})
    spec["training"] |= {"epochs": 180}  # long enough to be in the midst of it
    run = Launch(home, "--set", "engines.count=2", spec=spec)
    run.reports(1)
    engines = harness.processes(home, harness.TITLES["engine"])
    for engine in engines:  # so that no trial ends before the commands arrive
        engine.kill(signal.SIGSTOP)
    said(home, "stop", "small", "--trial", STOPPED)
    said(home, "stop", "small", "--arm", "optimal")
    for engine in engines:
        engine.kill(signal.SIGCONT)
    by_hand = "stopped by hand"
    run.until(lambda: len(ended(home, by_hand)) == 3, "both commands to be executed")
    assert ended(home, by_hand) == {STOPPED, *(f"optimal.confirm.r0.fixed.000{i}" for i in (0, 1))}
    run.reports(1)
    said(home, "stop", "small")
    assert run.end() == 130, run.text()
    assert isinstance(entries(home)[-1].event, StudyInterrupted)
    assert not harness.left_over(home)

    assert "resume" in said(home, "retry", "small", STOPPED)  # that is when it takes effect
    images = sum(
        trial["images"] for trial in load("small", home=home, arrow=True)["trials"].to_pylist()
    )
    capped = harness.finish(home, "--set", f"max_images={images + 1}", verb="resume", spec=spec)
    assert "max_images" in capped.text()
    cap = events(home, CapReached)[0]
    assert (cap.cap, cap.limit) == ("max_images", images + 1)
    assert cap.spent > images

    again = harness.finish(home, verb="resume", spec=spec)  # the cap still applies: nothing runs
    assert "max_images" in again.text()
    harness.finish(home, "--set", "max_images=null", verb="resume", spec=spec)
    assert isinstance(entries(home)[-1].event, StudyFinished)
    states = {
        t["trial"]: t["state"] for t in load("small", home=home, arrow=True)["trials"].to_pylist()
    }
    assert states[STOPPED] == "pruned"
    assert states[f"{STOPPED}.retry1"] == "complete"
    assert {state for name, state in states.items() if name.startswith("optimal")} == {"pruned"}
    assert {state for name, state in states.items() if name.startswith("learned")} == {"complete"}
    assert not harness.judge(home, home)
    assert not harness.left_over(home)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("how", ["command", "signal"])
def test_a_study_that_waits_for_its_first_engine_is_stopped_at_once(home: Path, how: str) -> None:
    """On a cluster that others fill it may wait for hours, and its slots are timed on an engine."""
    head = {"num_cpus": 0, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        options = ("--set", "engines.count=1", "--set", "engines.slots=auto")
        run = Launch(home, "--address", cluster.address, *options, spec=harness.with_arms(ARMS))
        run.until(lambda: "starting engines" in run.text(), "engines to be asked for")
        if how == "command":
            said(home, "stop", "small")
        else:
            run.process.send_signal(signal.SIGTERM)
        assert run.end() == 130, run.text()
    finally:
        cluster.shutdown()
    assert isinstance(entries(home)[-1].event, StudyInterrupted)
    assert not harness.left_over(home)
