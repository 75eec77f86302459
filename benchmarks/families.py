"""A bank whose rows hold eight families of balancers, against one whose rows hold one family.

    python -m benchmarks.families --rounds 40

One CPU thread, synthetic images; the two sides run in turn in one process, and their seconds are
its CPU time.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping

import torch

from benchmarks.bank import CASES, LR, Case, Images
from benchmarks.paired import alternate, row, table_head
from vae_core.bank import Bank, Member
from vae_core.batches import TrainingImages

TARGET = 0.85
FAMILIES: Mapping[str, Mapping[str, float]] = {
    "fixed_beta": {"beta": 0.01},
    "linear_warm_up": {"beta": 0.01},
    "free_bits": {"beta": 0.01},
    "geco": {"kappa": 0.1},
    "control_vae": {"target": 10.0},
    "learned_sigma": {},
    "optimal_sigma": {},
    "running_average": {},
}
"""By family, what it needs to be given."""
STEPS = 1000
"""Of a training that families derive their speeds from."""
WIDTHS = (16, 8)
"""Of the digits' and of the 28x28 MLP's bank."""


def bank_of(case: Case, images: TrainingImages, families: list[str], width: int) -> Bank:
    """A bank whose rows hold the ``families`` in turn, each row of another seed."""
    bank = Bank(case.model, images, case.shape, width=width, batch_size=case.batch_size)
    for seed in range(width):
        name = families[seed % len(families)]
        bank.admit(Member(seed, lr=LR, balancer=name, hyper=FAMILIES[name], steps=STEPS))
    return bank


def beside_one_family(case: Case, width: int, rounds: int) -> str:
    """Rows of all families beside rows of a fixed beta."""
    images = TrainingImages(Images(4096, case.shape.dims), torch.device("cpu"))
    mixed = bank_of(case, images, [*FAMILIES], width)
    one = bank_of(case, images, ["fixed_beta"], width)
    steps = max(1, 4 * case.steps // width)
    found = alternate(lambda: mixed.train(steps), lambda: one.train(steps), rounds)
    work = steps * case.batch_size * width
    return row(f"{case.name}, K = {width}", found, work, work, TARGET)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=40, help="paired timings a row (default 40)")
    parser.add_argument("--toy", action="store_true", help="one round: whether it runs at all")
    options = parser.parse_args()
    torch.set_num_threads(1)
    head = ["rows of eight families, beside one", "images/s", "beside", "ratio", "range", "target"]
    print(table_head(head))
    for case, width in zip(CASES, WIDTHS, strict=False):
        print(beside_one_family(case, width, 1 if options.toy else options.rounds), flush=True)


if __name__ == "__main__":
    main()
