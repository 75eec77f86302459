"""A trial that takes engines down, among others that share them."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import harness
import pytest
from harness import SPEC, Launch, events, table

from study.search.conductor import FATAL

KILLER = '''
"""A balancer that ends the process it runs in, as a fault in a user's own native code would."""

import os

import torch
from vae_core.balancers import Balance, Balancer
from vae_core.balancers.contract import KL_WEIGHT


class Killer(Balancer):
    name = "killer"
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
def test_the_trial_that_takes_engines_down_is_found_out_and_its_neighbours_finish(
    home: Path, tmp_path: Path
) -> None:
    (tmp_path / "unkind.py").write_text(KILLER)
    spec = copy.deepcopy(SPEC)
    spec["arms"] = {"killer": {"balancer": "unkind:Killer"}, "optimal": SPEC["arms"]["optimal"]}
    spec["engines"] |= {"slots": 3}
    spec["seeds"] = [0]
    environment = {"PYTHONPATH": str(tmp_path)}
    run = Launch(home, spec=spec, environment=environment)
    assert run.end() == 0, run.text()
    rows = {row["trial"]: row for row in table(home)}
    killer, good = rows["killer.confirm.r0.fixed.0000"], rows["optimal.confirm.r0.fixed.0000"]
    assert (killer["state"], killer["reason"]) == ("failed", "crashed")
    assert good["state"] == "complete"
    deaths = Counter(e.data["trial"] for e in events(home) if e.kind == "death")
    assert deaths[killer["trial"]] == FATAL
    assert deaths[good["trial"]] < FATAL
    traceback = next(e.data["traceback"] for e in events(home) if e.data.get("traceback"))
    assert f"died {FATAL} times running" in traceback
    assert not harness.left_over(home)
