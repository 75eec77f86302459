"""The bank against a plain hand-written PyTorch loop, and at several widths.

    python -m benchmarks.bank --rounds 40

One CPU thread, synthetic images; the two sides of a row run in turn in one process, and their
seconds are its CPU time.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from benchmarks.baselines.models import loss_of, plain_model
from benchmarks.paired import alternate, row, table_head
from vae_core.bank import Bank, Member
from vae_core.batches import TrainingImages
from vae_core.geometry import ImageShape
from vae_core.precision import Precision

LOOP_TARGET = 1.0
WIDE_TARGET = 1.5
LR, BETA, IMAGES = 1e-3, 0.01, 4096


@dataclass(frozen=True)
class Case:
    """One model on images of one shape."""

    name: str
    model: dict[str, Any]
    shape: ImageShape
    batch_size: int
    steps: int
    """Steps of one member in a round: a tenth of a second or two."""


DIGITS = Case(
    "digits mlp 64-64-64-16, batch 64",
    {"name": "mlp", "latent": 16, "width": 64},
    ImageShape(1, 8, 8),
    batch_size=64,
    steps=64,
)
CASES = [
    DIGITS,
    Case(
        "28x28 mlp 784-256-256-16, batch 128",
        {"name": "mlp", "latent": 16, "width": 256},
        ImageShape(1, 28, 28),
        batch_size=128,
        steps=16,
    ),
    Case(
        "28x28 conv 32-64-16, batch 128",
        {"name": "conv", "latent": 16, "width": 32},
        ImageShape(1, 28, 28),
        batch_size=128,
        steps=2,
    ),
]
WIDTHS = (2, 4, 8, 16)


class Images:
    """Random bytes in memory, as :class:`vae_core.batches.ImageRows` wants them."""

    def __init__(self, count: int, dims: int) -> None:
        self.pixels = np.random.default_rng(0).integers(0, 256, (count, dims), dtype=np.uint8)
        self.index = np.arange(count)


def plain_loop(case: Case, images: Images, precision: Precision) -> Callable[[int], None]:
    """A script's training loop over float images in memory; call it with a number of steps."""
    bfloat16 = precision == "bfloat16"
    torch.manual_seed(0)
    data = (torch.from_numpy(images.pixels).float() + 0.5) / 256
    if case.model["name"] == "conv":
        data = data.view(-1, *case.shape.chw)
    model = plain_model(case.model, case.shape)
    optimizer = torch.optim.Adam(model.parameters(), lr=LR, fused=True)

    def batches() -> Iterator[Tensor]:
        while True:
            order = torch.randperm(len(data))
            for start in range(0, len(data) - case.batch_size + 1, case.batch_size):
                yield data[order[start : start + case.batch_size]]

    stream = batches()

    def train(steps: int) -> None:
        for _ in range(steps):
            with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
                loss = loss_of(model, next(stream), BETA)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return train


def full_bank(
    case: Case, images: TrainingImages, width: int, precision: Precision = "float32"
) -> Bank:
    """A bank with a member in every row, each of another seed, with eight betas in turn."""
    bank = Bank(
        case.model,
        images,
        case.shape,
        width=width,
        batch_size=case.batch_size,
        precision=precision,
    )
    for seed in range(width):
        bank.admit(
            Member(
                seed, lr=LR, balancer="fixed_beta", hyper={"beta": BETA * 2 ** (seed % 8)}, steps=1
            )
        )
    return bank


def beside_loop(case: Case, precision: Precision, rounds: int) -> str:
    """One member in a bank against the loop, both in ``precision``."""
    data = Images(IMAGES, case.shape.dims)
    stored = TrainingImages(data, torch.device("cpu"))
    bank, loop = full_bank(case, stored, 1, precision), plain_loop(case, data, precision)
    found = alternate(lambda: bank.train(case.steps), lambda: loop(case.steps), rounds)
    work = case.steps * case.batch_size
    return row(f"{case.name}, {precision}", found, work, work, LOOP_TARGET)


def beside_one(case: Case, width: int, rounds: int) -> str:
    """``width`` members in a bank against one; images of all members count."""
    data = TrainingImages(Images(IMAGES, case.shape.dims), torch.device("cpu"))
    wide, one = full_bank(case, data, width), full_bank(case, data, 1)
    steps = max(1, case.steps // width)
    found = alternate(lambda: wide.train(steps), lambda: one.train(case.steps), rounds)
    work = steps * case.batch_size * width, case.steps * case.batch_size
    return row(f"K = {width}", found, *work, WIDE_TARGET if width == 8 else None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=40, help="paired timings a row (default 40)")
    parser.add_argument("--toy", action="store_true", help="a few steps: whether it runs at all")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rounds, cases = options.rounds, CASES
    if options.toy:
        rounds, cases = 1, [replace(case, steps=2) for case in CASES]
    rates = ["images/s", "beside", "ratio", "range", "target"]
    print(table_head(["one member in a bank, beside a plain loop", *rates]))
    for case in cases:
        for precision in get_args(Precision):
            print(beside_loop(case, precision, rounds), flush=True)
    print()
    print(table_head(["K members, beside one (digits mlp)", *rates]))
    for width in WIDTHS:
        print(beside_one(cases[0], width, rounds), flush=True)


if __name__ == "__main__":
    main()
