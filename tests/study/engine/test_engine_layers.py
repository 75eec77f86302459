"""Trials of models with dropout, and of models that a bank trains one of."""

from __future__ import annotations

from typing import Any

import pytest
from engine_bench import Bench, fetch, follow, numbers, request
from own_layers import Dropping, Layered, Recurrent, SpectralNorm


def asked(kind: type[Layered], trial: str = "a", **changes: Any) -> dict[str, Any]:
    found = request(trial, **changes)
    found["settings"]["model"] = {"name": f"{kind.__module__}:{kind.__name__}", "latent": 3}
    return found


@pytest.mark.parametrize(("kind", "width"), [(Dropping, 3), (SpectralNorm, 1)])
def test_a_trial_ends_the_same_alone_and_resumed_beside_others(
    bench: Bench, kind: type[Layered], width: int
) -> None:
    whole = follow(bench.engine(width), asked(kind, "whole"))
    assert whole[-1]["end"]["state"] == "complete"
    cut = asked(kind, "cut")
    first = bench.engine(width)
    first.admit(cut | {"until": 2})
    assert len(fetch(first, "cut", 2)) == 2
    first.stop()
    second = bench.engine(width)
    for seed in range(2, 1 + width):
        second.admit(asked(kind, f"other-{seed}", seed=seed))
    assert numbers(follow(second, cut)) == numbers(whole)


def test_an_engine_of_one_slot_trains_what_vmap_cannot_to_a_confirm_runs_end(bench: Bench) -> None:
    end = follow(bench.engine(), asked(Recurrent, phase="confirm"))[-1]["end"]
    assert end["state"] == "complete"
    assert "checkpoint" in end["artifacts"]
