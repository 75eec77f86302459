"""What recordings leave to each other on a GPU; test_recorder.py has the same on a stand-in."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch
from tensors import assert_equal
from test_bank import ONE, Rows, state
from torch import Tensor

from vae_core.balancers import BALANCERS, Balance, Terms
from vae_core.balancers.contract import Balancer, Hyperparameter, Scalars, State
from vae_core.bank import Bank, Member
from vae_core.batches import TrainingImages
from vae_core.geometry import ImageShape
from vae_core.numerics import settle_kernels

settle_kernels()
pytestmark = pytest.mark.gpu
SHAPE = ImageShape(1, 28, 28)


@pytest.fixture(scope="module")
def images() -> TrainingImages:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (2048, SHAPE.dims), dtype=torch.uint8, generator=generator)
    return TrainingImages(Rows(pixels.numpy(), torch.arange(2048).numpy()), torch.device("cuda"))


def bank(images: TrainingImages, width: int) -> Bank:
    """At a real size: its products are split, and so use cuBLAS's workspace."""
    model = {"name": "mlp", "latent": 16, "width": 256}
    return Bank(model, images, SHAPE, width=width, batch_size=128)


def trained(found: Bank, steps: int = 20) -> Bank:
    while found.free:
        found.admit(ONE)
    found.train(steps)
    return found


class Looking(Balancer):
    """A fixed beta that reads from the device at every step, which no recording can."""

    name = "looking"
    hand_tuned = False
    hyperparameters: ClassVar[dict[str, Hyperparameter]] = {}

    def balance(self, terms: Terms, state: State, learned: Scalars, hyper: Scalars) -> Balance:
        float(terms.squared_error.detach().sum())
        zero: Tensor = terms.squared_error.new_zeros(len(terms.squared_error))
        return Balance(zero, zero + 1)


def test_a_bank_that_goes_takes_nothing_from_the_others(images: TrainingImages) -> None:
    narrow, stays = trained(bank(images, 1)), trained(bank(images, 8))
    del narrow
    newest = trained(bank(images, 16))
    stays.train(20)
    newest.train(20)
    alone = trained(bank(images, 8), 40)
    assert_equal(state(stays, 3), state(alone, 3))
    assert not any(found.unrecorded for found in (stays, newest, alone))


def test_a_step_that_cannot_be_recorded_leaves_nothing_behind(images: TrainingImages) -> None:
    before = torch.cuda.current_stream()
    found = bank(images, 4)
    found.admit(Member(1, 1e-3, f"{__name__}:Looking", {}, 100))
    found.train(10)
    assert found.unrecorded
    assert torch.cuda.current_stream() == before
    other = trained(bank(images, 4))
    assert not other.unrecorded
    held = torch.cuda.memory_reserved()
    del found, other
    torch.cuda.empty_cache()
    assert torch.cuda.memory_reserved() < held


def test_recordings_of_many_families_keep_no_memory_each(images: TrainingImages) -> None:
    found, reserved = bank(images, 8), []
    names = [n for n in BALANCERS.names() if BALANCERS.get(n).head is None]
    hyper = {"fixed_beta": {"beta": 0.01}}
    for name in [n for n in names if n in hyper or not BALANCERS.get(n).hand_tuned]:
        row = found.admit(Member(1, 1e-3, name, hyper.get(name, {}), 1000))
        found.train(3)
        found.release(row)
        reserved.append(torch.cuda.memory_reserved())
    assert reserved[-1] - reserved[1] < 64 * 2**20, "less than one workspace, for all of them"
