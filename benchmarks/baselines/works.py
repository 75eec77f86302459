"""What a study and each baseline share: data and split, model, trials, epochs, reports."""

from __future__ import annotations

import argparse
import json
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt

from vae_core.data.splits import hold_out
from vae_core.geometry import ImageShape
from vae_core.precision import Precision, has_bfloat16

Pixels = npt.NDArray[np.uint8]
BETA = (1e-4, 10.0)
"""Range of beta, drawn log-uniformly."""
DATA_ROOT = Path.home() / ".cache" / "study-data"
TEST_DIGITS = 297


@dataclass(frozen=True)
class Work:
    """Trials of one model on one dataset; each reports its validation loss once an epoch."""

    name: str
    data: str
    validation: int
    """Images held out of train. The others fill whole batches, and all of these are measured."""
    shape: ImageShape
    model: dict[str, Any]
    trials: int
    confirms: int
    """How many of the trials are a study's confirm runs."""
    epochs: int
    batch_size: int
    lr: float
    precision: Precision
    """Of the study and the loop: the faster one here."""
    threads: int
    """Of the loop and pythae: the faster number here, of one and one a core."""

    def study(self) -> dict[str, Any]:
        """The study file of this work: a random search for beta, and its confirm runs."""
        low, high = BETA
        return {
            "name": self.name,
            "data": {"name": self.data, "validation": self.validation},
            "model": self.model,
            "training": {
                "epochs": self.epochs,
                "batch_size": self.batch_size,
                "lr": self.lr,
                "reports": self.epochs,
            },
            "seeds": list(range(self.confirms)),
            "engines": {"device": "cpu", "precision": self.precision},
            "arms": {
                "random-beta": {
                    "balancer": "fixed_beta",
                    "search": {
                        "space": {"beta": {"low": low, "high": high, "log": True}},
                        "sampler": "random",
                        "trials": self.trials - self.confirms,
                    },
                }
            },
        }

    def betas(self) -> list[float]:
        """A beta for each trial."""
        draw = random.Random(0)
        low, high = map(math.log, BETA)
        return [math.exp(draw.uniform(low, high)) for _ in range(self.trials)]

    def toy(self) -> Work:
        """A few trials of one epoch."""
        return replace(self, trials=4, confirms=2, epochs=1)

    def images(self, root: Path) -> tuple[Pixels, Pixels]:
        """The images [n, C, H, W] to train on and to validate with, as a study splits them."""
        read = _digits() if self.data == "digits" else _fashion(root)
        kept, held = hold_out(len(read), self.validation)
        return read[kept], read[held]


GREY = ImageShape(1, 28, 28)
FASTER: Precision = "bfloat16" if has_bfloat16() else "float32"
"""Of the loop and of a bank, for images of 28x28."""
WORKS = {
    work.name: work
    for work in (
        Work(
            "digits",
            data="digits",
            validation=220,
            shape=ImageShape(1, 8, 8),
            model={"name": "mlp", "latent": 16, "width": 64},
            trials=40,
            confirms=5,
            epochs=10,
            batch_size=64,
            lr=3e-3,
            precision="float32",
            threads=1,
        ),
        Work(
            "fashion-mlp",
            data="fashion_mnist",
            validation=2016,
            shape=GREY,
            model={"name": "mlp", "latent": 16, "width": 256},
            trials=16,
            confirms=4,
            epochs=3,
            batch_size=128,
            lr=1e-3,
            precision=FASTER,
            threads=2,
        ),
        Work(
            "fashion-conv",
            data="fashion_mnist",
            validation=2016,
            shape=GREY,
            model={"name": "conv", "latent": 16, "width": 32},
            trials=8,
            confirms=2,
            epochs=1,
            batch_size=128,
            lr=1e-3,
            precision=FASTER,
            threads=2,
        ),
    )
}

Baseline = Callable[[Work, Path, Path], Sequence[Sequence[float]]]
"""Runs a work, given a folder of data and one for its output; returns the validation losses of each
trial."""


def command(baseline: Baseline, description: str) -> None:
    """Run ``baseline`` by its command line; print how many trials and reports it made."""
    parser = argparse.ArgumentParser(description=description.partition("\n")[0])
    add_options(parser)
    options = parser.parse_args()
    work = WORKS[options.work].toy() if options.toy else WORKS[options.work]
    with TemporaryDirectory(prefix="baseline-") as folder:
        losses = baseline(work, options.data_root.resolve(), Path(folder))
    best = min(reported[-1] for reported in losses)
    done = {"trials": len(losses), "reports": sum(map(len, losses)), "best": best}
    print(json.dumps(done))


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of every command here."""
    parser.add_argument("--work", choices=WORKS, default="digits", help="default: digits")
    parser.add_argument(
        "--data-root", type=Path, default=DATA_ROOT, help=f"holds FashionMNIST/raw ({DATA_ROOT})"
    )
    parser.add_argument("--toy", action="store_true", help="four short trials: does it run at all")


def _digits() -> Pixels:
    from sklearn.datasets import load_digits

    images: Pixels = np.rint(load_digits().images * (255 / 16)).astype(np.uint8)[:, None]
    return images[hold_out(len(images), TEST_DIGITS)[0]]


def _fashion(root: Path) -> Pixels:
    data = (root / "FashionMNIST" / "raw" / "train-images-idx3-ubyte").read_bytes()
    return np.frombuffer(data, np.uint8, offset=16).reshape(-1, 1, 28, 28)
