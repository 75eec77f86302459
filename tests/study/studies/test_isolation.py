"""Trials that an engine does not survive, or that do not fit in its memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import harness
import pytest
from harness import SPEC, Launch, events, table

from study.journal.events import EngineChanged, EngineDied, Reported, TrialEnded, TrialPlaced
from study.search.conductor import FATAL

KILLER = '''
"""A balancer that ends its process, as a fault in a user's own native code would."""

import os

import torch
from vae_core.balancers import Balance, Balancer
from vae_core.balancers.contract import KL_WEIGHT


class Killer(Balancer):
    name = "killer"
    hand_tuned = False
    hyperparameters = {"k": KL_WEIGHT}

    def initial_state(self, hyper):
        return {"steps": torch.zeros_like(hyper["k"])}

    def balance(self, terms, state, learned, hyper):
        zero = torch.zeros(len(terms.squared_error))
        return Balance(log_sigma2=zero, k=zero + 1)

    def next_state(self, terms, state, learned, hyper):
        if state["steps"].max() > 60:
            os._exit(1)
        return {"steps": state["steps"] + 1}
'''


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    home = tmp_path / "studies"
    yield home
    harness.end_all(home)


@pytest.mark.timeout(600)
def test_the_trial_that_kills_engines_is_identified_and_its_neighbours_finish(
    home: Path, tmp_path: Path
) -> None:
    (tmp_path / "unkind.py").write_text(KILLER)
    killer = {"balancer": "unkind:Killer"}
    spec = harness.with_arms({"killer": killer, "optimal": SPEC["arms"]["optimal"]})
    spec["engines"] |= {"slots": 3}
    spec["seeds"] = [0]
    environment = {"PYTHONPATH": str(tmp_path)}
    run = Launch(home, spec=spec, environment=environment)
    assert run.end() == 0, run.text()
    rows = {row["trial"]: row for row in table(home)}
    killer, good = rows["killer.confirm.r0.fixed.0000"], rows["optimal.confirm.r0.fixed.0000"]
    assert (killer["state"], killer["reason"]) == ("failed", "crashed")
    assert good["state"] == "complete"
    deaths = Counter(event.trial for event in events(home, EngineDied))
    assert deaths[killer["trial"]] == FATAL
    assert deaths[good["trial"]] < FATAL
    traceback = next(e.traceback for e in events(home, TrialEnded) if e.traceback)
    assert f"died {FATAL} times in a row" in traceback
    assert not harness.left_over(home)


MEMORY = '''
"""A model on a device whose memory, after some steps, holds only two rows of it."""

import torch
from vae_core.models.mlp import MLP


class Row(torch.autograd.Function):
    seen = 0

    @staticmethod
    def forward(x):
        return x.clone()

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, gradient):
        return gradient

    @staticmethod
    def vmap(info, dims, x):
        Row.seen += 1
        if Row.seen > 200 and info.batch_size > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return x.clone(), dims[0]


class Roomy(MLP):
    def decode(self, z):
        return super().decode(Row.apply(z))
'''


@pytest.mark.timeout(600)
def test_where_memory_is_short_a_study_continues_in_narrower_banks(
    home: Path, tmp_path: Path
) -> None:
    (tmp_path / "roomy.py").write_text(MEMORY)
    spec = harness.with_arms({"optimal": SPEC["arms"]["optimal"]})
    spec["model"]["name"] = "roomy:Roomy"
    spec["training"]["epochs"] = 20
    spec["engines"] |= {"slots": 5}
    spec["seeds"] = [*range(7)]
    run = Launch(home, spec=spec, environment={"PYTHONPATH": str(tmp_path)})
    assert run.end() == 0, run.text()
    assert Counter(row["state"] for row in table(home)) == {"complete": 7}
    reports = events(home, Reported)
    assert len(reports) == 7 * spec["training"]["reports"]
    assert not any(report.redone for report in reports)
    widths: dict[str, list[int]] = {}
    for placed in events(home, TrialPlaced):
        widths.setdefault(placed.trial, []).append(placed.key["width"])
    assert Counter(map(tuple, widths.values())) == {(5, 2): 5, (2,): 2}
    assert [event.width for event in events(home, EngineChanged)] == [5, 2]
    report = (home / "small" / "report" / "report.txt").read_text()
    assert "Trials ran under 2 numerics keys (different: width)" in " ".join(report.split())
