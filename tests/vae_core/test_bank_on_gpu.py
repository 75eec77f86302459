"""The bank's promises on a GPU, bit for bit under each of its numerics keys."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tensors import assert_equal
from test_bank import (
    BATCH,
    KINDS,
    MATES,
    NEIGHBOURS,
    ONE,
    PRECISIONS,
    Rows,
    assert_alike_beside,
    assert_alike_beside_nan,
    state,
)

from vae_core import batches
from vae_core.bank import Bank
from vae_core.batches import TrainingImages
from vae_core.numerics import settle_kernels
from vae_core.precision import Precision

settle_kernels()
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.parametrize("precision", PRECISIONS),
    pytest.mark.parametrize("kind", list(KINDS)),
]


def bank(width: int, kind: str, precision: Precision) -> Bank:
    model, images, shape = KINDS[kind]
    here = images()
    there = TrainingImages(Rows(here.pixels.numpy(), here.index.numpy()), torch.device("cuda"))
    return Bank(model, there, shape, width=width, batch_size=BATCH, precision=precision)


def test_a_members_numbers_do_not_depend_on_its_slot_or_neighbours(
    kind: str, precision: Precision
) -> None:
    assert_alike_beside(MATES, lambda: bank(4, kind, precision), steps=6)


def test_a_neighbour_going_to_nan_changes_nothing(kind: str, precision: Precision) -> None:
    assert_alike_beside_nan(lambda: bank(3, kind, precision))


@pytest.mark.parametrize("ahead", [1, 64])
@pytest.mark.parametrize("width", [1, 4])
def test_steps_are_recorded_once_and_replayed_to_the_last_bit(
    kind: str, precision: Precision, width: int, ahead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recorder compares a replayed step with one made directly, and says if they differ."""
    monkeypatch.setattr(batches, "MOST_AHEAD", ahead)
    found = bank(width, kind, precision)
    for member in (ONE, *NEIGHBOURS[: width - 1]):
        found.admit(member)
    found.train(70)
    found.release(0)
    found.admit(replace(ONE, seed=12))
    found.train(3)
    assert not found.unrecorded
    assert len(found._recordings) == 1


@pytest.mark.parametrize("width", [1, 4])
def test_a_checkpoint_goes_on_as_if_nothing_had_happened(
    kind: str, precision: Precision, width: int
) -> None:
    whole, first, second = (bank(width, kind, precision) for _ in range(3))
    whole.admit(ONE)
    whole.train(8)
    first.admit(ONE)
    first.train(5)
    second.admit(ONE, state(first, 0))
    second.train(3)
    assert_equal(state(whole, 0), state(second, 0))


def test_a_member_starts_on_a_gpu_as_on_a_cpu(kind: str, precision: Precision) -> None:
    there = bank(1, kind, precision)
    model, images, shape = KINDS[kind]
    here = Bank(model, images(), shape, width=1, batch_size=BATCH, precision=precision)
    for found in (here, there):
        found.admit(ONE)
    assert_equal(state(here, 0), state(there, 0))
