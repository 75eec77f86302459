"""The curve of one multi-rate training beside trainings at single betas, with gates and without.

    python -m benchmarks.multi_rate [--steps 6000]

On scikit-learn's digits, mean over seeds. A cell is S, R and the calibrated negative ELBO, nats per
image with the standard deviation over seeds, of images that are not trained on.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import numpy as np
import torch
from sklearn.datasets import load_digits

from vae_core.bank import Bank, Member
from vae_core.batches import TrainingImages
from vae_core.evaluation import EvaluationSet, calibrated, measure
from vae_core.geometry import ImageShape
from vae_core.models import VAE

SHAPE, BATCH, LR, SEEDS = ImageShape(1, 8, 8), 32, 1e-3, 3
MODEL = {"name": "mlp", "latent": 8, "width": 64, "depth": 2}
SINGLE = (0, 2, 4)
"""Places among the betas of the multi-rate model that are trained singly too."""


@dataclass(frozen=True)
class _Digits:
    """Every other digit."""

    pixels: np.ndarray
    index: np.ndarray

    @classmethod
    def of(cls, first: int, end: int) -> _Digits:
        pixels = np.round(load_digits().data * 255 / 16).astype(np.uint8)
        return cls(pixels, np.arange(first, end, 2))


TRAIN, HELD_OUT = _Digits.of(0, 1500), _Digits.of(1, 1797)


def train(balancer: str, steps: int, *, gated: bool, **hyper: float) -> tuple[Bank, float]:
    """A bank of a member for each seed, trained, and the CPU seconds it took."""
    images = TrainingImages(TRAIN, torch.device("cpu"))
    bank = Bank(MODEL, images, SHAPE, width=SEEDS, batch_size=BATCH, gated=gated)
    for seed in range(SEEDS):
        bank.admit(Member(seed, LR, balancer, hyper, steps))
    start = time.thread_time()
    bank.train(steps)
    return bank, time.thread_time() - start


def score(model: VAE) -> tuple[float, ...]:
    """S, R and calibrated negative ELBO."""
    parts = (("train", TRAIN), ("validation", HELD_OUT))
    sets = (EvaluationSet(rows, name, count=1_000, shape=SHAPE) for name, rows in parts)
    found = calibrated(*(measure(model, s.batches(model.latent)) for s in sets), SHAPE.dims)
    return found["S"], found["R"], found["calibrated_negative_elbo"]


def cell(scores: Sequence[tuple[float, ...]]) -> str:
    """The table's, of the scores of all seeds."""
    S, R, nats = zip(*scores, strict=True)
    return f"{fmean(S):.2f}, {fmean(R):.1f}, {fmean(nats):.2f} ({stdev(nats):.2f})"


def main() -> None:
    """Print the table, a line for each beta, and what each training took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=6_000, help="of each training")
    steps = parser.parse_args().steps
    torch.set_num_threads(1)
    rows = range(SEEDS)
    curve, seconds = train("multi_rate", steps, gated=True)
    took = {"multi_rate": [seconds]}
    print("| beta | `multi_rate` | `gates_frozen` | `fixed_beta` |")
    print("|---|---|---|---|")
    for i, beta in enumerate(curve.betas(0)):
        cells = [cell([score(curve.model(row, beta)) for row in rows])]
        for name, gated in (("gates_frozen", True), ("fixed_beta", False)) if i in SINGLE else ():
            bank, seconds = train(name, steps, gated=gated, beta=beta)
            took.setdefault(name, []).append(seconds)
            cells.append(cell([score(bank.model(row)) for row in rows]))
        cells += [""] * (3 - len(cells))
        print(f"| {beta:.3g} | {' | '.join(cells)} |", flush=True)
    for name, each in took.items():
        print(f"{name}: {fmean(each):.0f} s of CPU for {SEEDS} trainings side by side")


if __name__ == "__main__":
    main()
