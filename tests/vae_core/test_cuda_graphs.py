"""Recordable steps: of one size while members come and go, reading nothing from the host.

Here nothing records them: they are made one by one, on the CPU, as they are where a recording
fails. What a GPU then replays is checked against them by the recorder itself (test_bank_on_gpu.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from tensors import assert_equal
from test_bank import (
    BATCH,
    DIGITS,
    FAMILY,
    MATES,
    MLP,
    NEIGHBOURS,
    ONE,
    assert_alike_beside,
    assert_alike_beside_nan,
    bank,
    digits,
    state,
)
from torch import Tensor

from vae_core import bank as bank_module
from vae_core import batches
from vae_core.balancers import BALANCERS
from vae_core.balancers.suite import example_hyperparameters
from vae_core.bank import Bank, Member
from vae_core.cuda_graphs import Recorder

LAPLACE = Member(seed=9, lr=1e-3, balancer="laplace_scale", hyper={}, steps=20_000)


@pytest.fixture
def recordings(monkeypatch: pytest.MonkeyPatch) -> list[list[Tensor]]:
    """Banks as on a GPU, but for the recorder; what each recording would change."""
    made: list[list[Tensor]] = []

    def record(
        self: Recorder, step: Callable[[], None], changes: Sequence[Tensor]
    ) -> Callable[[], None]:
        made.append(list(changes))
        return step

    monkeypatch.setattr(bank_module, "replayed_on", lambda device: True)
    monkeypatch.setattr(batches, "drawn_on_host", lambda device: False)
    monkeypatch.setattr(Recorder, "__call__", record)
    return made


@pytest.mark.usefixtures("recordings")
@pytest.mark.parametrize("kind", ["mlp", "conv", "norm"])
def test_a_members_numbers_do_not_depend_on_its_slot_or_neighbours(kind: str) -> None:
    mates = [*MATES, [LAPLACE, *NEIGHBOURS[:2]]]
    # 70 steps are more than a tape.
    assert_alike_beside(mates, lambda: bank(4, kind), steps=70)


@pytest.mark.usefixtures("recordings")
@pytest.mark.parametrize("name", [n for n in BALANCERS.names() if BALANCERS.get(n).head is None])
def test_a_family_may_be_padded_or_full(name: str) -> None:
    """Rows repeated to keep its size, or others of its own and another family."""
    rule = BALANCERS.get(name)(DIGITS, 4, 1_000, BATCH)
    one = Member(3, 1e-3, name, example_hyperparameters(rule, 0), 200)
    other = replace(one, seed=4, hyper=example_hyperparameters(rule, 1))
    rates = [replace(one, balancer="multi_rate", hyper={})]
    rates += [replace(one, balancer="gates_frozen", hyper={"beta": 0.1})]
    first, last = rates if rule.gated else (ONE, LAPLACE)
    found = []
    for mates in ([], [other], [first, other, last]):
        shared = bank(4, gated=rule.gated)
        row = [shared.admit(member) for member in (*mates, one)][-1]
        shared.train(6)
        found.append(state(shared, row))
    assert_equal(found[1], found[0])
    assert_equal(found[2], found[0])


@pytest.mark.usefixtures("recordings")
def test_a_neighbour_of_its_own_family_going_to_nan_changes_nothing() -> None:
    assert_alike_beside_nan(lambda: bank(4))


@pytest.mark.usefixtures("recordings")
@pytest.mark.parametrize("width", [1, 4])
@pytest.mark.parametrize("dequantize", [False, True])
def test_a_checkpoint_goes_on_as_if_nothing_had_happened(width: int, dequantize: bool) -> None:
    whole, first, second = (bank(width, dequantize=dequantize) for _ in range(3))
    member = replace(ONE, halve_every=0.1)
    whole.admit(member)
    whole.train(30)
    first.admit(member)
    first.train(7)
    first.train(6)
    second.admit(member, state(first, 0))
    second.train(17)
    assert_equal(state(whole, 0), state(second, 0))


def test_a_recording_serves_members_that_come_and_go(recordings: list[list[Tensor]]) -> None:
    alone, shared = bank(3), bank(3)
    row = alone.admit(ONE)
    alone.train(20)
    assert len(recordings) == 1
    mates = [shared.admit(FAMILY[0]), shared.admit(ONE)]
    shared.train(4)
    shared.release(mates[0])
    shared.train(3)
    mates[0] = shared.admit(FAMILY[1])
    shared.admit(FAMILY[2])
    shared.train(13)
    assert len(recordings) == 2, "one rate, one family: one recording, whatever the rows"
    assert_equal(state(alone, row), state(shared, mates[1]))


def test_all_that_a_step_changes_is_put_back_after_recording(
    recordings: list[list[Tensor]],
) -> None:
    """Whatever tensors there are: a checkpoint taken before is the one found afterwards."""
    found = bank(4)
    rows = [found.admit(member) for member in (ONE, LAPLACE, *NEIGHBOURS[1:3])]
    found.train(3)
    before = [state(found, row) for row in rows]
    values = [tensor.detach().clone() for tensor in recordings[-1]]
    found.train(2)
    for tensor, value in zip(recordings[-1], values, strict=True):
        with torch.no_grad():
            tensor.copy_(value)
    for row, saved in zip(rows, before, strict=True):
        here = state(found, row)
        assert_equal(
            {name: value for name, value in here.items() if name not in ("step", "history")},
            {name: value for name, value in saved.items() if name not in ("step", "history")},
        )
    for family in found._families.values():
        assert {id(tensor) for tensor in family.moving()} <= {id(t) for t in recordings[-1]}


def test_the_same_noise_gives_the_numbers_of_steps_made_one_by_one(
    recordings: list[list[Tensor]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def trained() -> list[dict[str, Tensor]]:
        found = Bank(MLP, digits(), DIGITS, width=4, batch_size=BATCH)
        rows = [found.admit(member) for member in (NEIGHBOURS[0], ONE, LAPLACE)]
        found.train(25)
        return [state(found, row) for row in rows]

    monkeypatch.setattr(batches, "drawn_on_host", lambda device: True)
    like_a_gpu = trained()
    assert recordings
    monkeypatch.setattr(bank_module, "replayed_on", lambda device: False)
    for here, there in zip(like_a_gpu, trained(), strict=True):
        assert here.keys() == there.keys()
        for name, value in here.items():
            torch.testing.assert_close(value, there[name], rtol=2e-4, atol=1e-6)
