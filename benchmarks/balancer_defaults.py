"""Which rates and memories fit short and long training alike, on images that no study ships.

    python -m benchmarks.balancer_defaults

Grey patches of the two photographs that scikit-learn brings; held-out patches are from another part
of the photographs. Every balancer is trained at several speeds, side by side in a bank, for
trainings of different length, image size and epoch. A column is a training, a cell how many nats
per image a balancer is behind the best of its column: calibrated negative ELBO on held-out patches.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import torch
from sklearn.datasets import load_sample_images

from vae_core.bank import Bank, Member
from vae_core.batches import TrainingImages
from vae_core.evaluation import EvaluationSet, calibrated, measure
from vae_core.geometry import ImageShape

BATCH, LATENT, WIDTH, HELD_OUT = 64, 16, 64, 2000
GREY = np.array([0.299, 0.587, 0.114])
SHARE = 0.75
"""Of the photographs' width, from the left: the rest is for held-out patches."""


class Patches:
    """Square patches at random places of the photographs: ``count`` of ``side`` pixels squared."""

    def __init__(self, side: int, count: int, *, held_out: bool) -> None:
        generator = np.random.default_rng(int(held_out))
        found = []
        for photo in load_sample_images().images:
            grey = np.rint(photo @ GREY).astype(np.uint8)
            cut = int(SHARE * grey.shape[1])
            part = grey[:, cut:] if held_out else grey[:, :cut]
            windows = np.lib.stride_tricks.sliding_window_view(part, (side, side))
            at = [generator.integers(0, n, count // 2) for n in windows.shape[:2]]
            found.append(windows[at[0], at[1]].reshape(-1, side * side))
        self.pixels = generator.permutation(np.concatenate(found))
        self.index = np.arange(len(self.pixels))


@dataclass(frozen=True)
class Training:
    """A column of the table."""

    side: int
    images: int
    steps: int
    lr: float
    seeds: int

    @property
    def epoch(self) -> int:
        """Steps of an epoch."""
        return self.images // BATCH


Rates = Callable[[Training], Mapping[str, float]]


def _travel(name: str, distance: float) -> Rates:
    return lambda training: {name: distance / training.steps}


def _share(share: float) -> Rates:
    return lambda training: {"decay": math.exp(-1 / (share * training.steps))}


def _epochs(epochs: float) -> Rates:
    return lambda training: {"decay": math.exp(-1 / (epochs * training.epoch))}


ROWS: Mapping[str, tuple[str, Rates]] = {
    "optimal_sigma": ("optimal_sigma", lambda training: {}),
    "learned_sigma, sigma_lr 1e-3": ("learned_sigma", lambda training: {"sigma_lr": 1e-3}),
    **{
        f"learned_sigma, {c} / steps": ("learned_sigma", _travel("sigma_lr", c))
        for c in (8, 15, 30, 60, 120)
    },
    "running_average, decay 0.99": ("running_average", lambda training: {"decay": 0.99}),
    **{
        f"running_average, {share} of the steps": ("running_average", _share(share))
        for share in (0.002, 0.005, 0.01, 0.02, 0.04)
    },
    **{
        f"running_average, {epochs} epochs": ("running_average", _epochs(epochs))
        for epochs in (0.2, 1)
    },
    "running_minimum, decay 0.99": ("running_minimum", lambda training: {"decay": 0.99}),
    **{
        f"running_minimum, {share} of the steps": ("running_minimum", _share(share))
        for share in (0.002, 0.01)
    },
    "asperti_trentin, k 1": ("asperti_trentin", lambda training: {"k": 1}),
    "laplace_scale, scale_lr 2.5e-4": ("laplace_scale", lambda training: {"scale_lr": 2.5e-4}),
    **{f"laplace_scale, {c} / steps": ("laplace_scale", _travel("scale_lr", c)) for c in (5, 20)},
}
TRAININGS = (
    Training(side=8, images=1_280, steps=250, lr=3e-3, seeds=2),
    Training(side=8, images=12_800, steps=250, lr=3e-3, seeds=2),
    Training(side=28, images=2_560, steps=400, lr=1e-3, seeds=1),
    Training(side=8, images=1_280, steps=500, lr=3e-3, seeds=2),
    Training(side=8, images=1_280, steps=6_000, lr=1e-3, seeds=1),
)


def behind(training: Training) -> dict[str, float]:
    """By row of the table, nats per image behind the best."""
    shape = ImageShape(1, training.side, training.side)
    train = Patches(training.side, training.images, held_out=False)
    held_out = Patches(training.side, HELD_OUT, held_out=True)
    bank = Bank(
        {"name": "mlp", "latent": LATENT, "width": WIDTH},
        TrainingImages(train, torch.device("cpu")),
        shape,
        width=len(ROWS) * training.seeds,
        batch_size=BATCH,
    )
    rows: dict[str, list[int]] = {name: [] for name in ROWS}
    for name, (balancer, rates) in ROWS.items():
        for seed in range(training.seeds):
            member = Member(seed, training.lr, balancer, rates(training), training.steps)
            rows[name].append(bank.admit(member))
    bank.train(training.steps)
    fitting = EvaluationSet(train, "train", count=HELD_OUT, shape=shape)
    scoring = EvaluationSet(held_out, "test", count=HELD_OUT, shape=shape)

    def score(row: int) -> float:
        model = bank.model(row)
        found = (measure(model, images.batches(LATENT)) for images in (fitting, scoring))
        return calibrated(*found, shape.dims)["calibrated_negative_elbo"]

    scores = {name: fmean(map(score, members)) for name, members in rows.items()}
    return {name: value - min(scores.values()) for name, value in scores.items()}


def main() -> None:
    """Print the table, a line for each balancer and speed."""
    torch.set_num_threads(1)
    columns = [behind(training) for training in TRAININGS]
    heads = [f"{t.side}x{t.side}, {t.steps:,} of {t.epoch}" for t in TRAININGS]
    print(f"| nats behind the best (steps of steps per epoch) | {' | '.join(heads)} |")
    print("|---" * (len(heads) + 1) + "|")
    for name in ROWS:
        print(f"| {name} | {' | '.join(f'{column[name]:.1f}' for column in columns)} |")


if __name__ == "__main__":
    main()
