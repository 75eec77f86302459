"""A confirm run's evaluation, beside the same with a single draw of latents an image.

    python -m benchmarks.evaluation

Everything that is evaluated at a confirm run's last report, on 10,000 random test images: with as
many draws as ``evaluation.draws: auto`` makes, and with one. No distances: they would hide it.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from functools import partial
from statistics import median

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.paired import alternate, table_head, table_line
from study.engine.evaluation import Evaluation, no_check
from study.engine.final_evaluation import FinalEvaluation
from study.spec import EvaluationSpec
from vae_core.batches import TrainingImages
from vae_core.evaluation import AGGREGATED, EvaluationSet, measure
from vae_core.geometry import ImageShape
from vae_core.models import VAE, build

SHAPE = ImageShape(1, 28, 28)
MODELS = {
    "28x28 mlp 784-256-256-16": {"name": "mlp", "latent": 16, "width": 256},
    "28x28 conv 32-64-16": {"name": "conv", "latent": 16},
}


@dataclass(frozen=True)
class _Rows:
    pixels: npt.NDArray[np.uint8]
    index: npt.NDArray[np.int64]


def evaluation(images: int) -> Evaluation:
    """An evaluation without distances, on random images: so many for test, 2,048 else."""
    settings = EvaluationSpec()

    few = min(images, settings.images)

    def rows(count: int) -> _Rows:
        pixels = np.random.default_rng(0).integers(0, 256, (count, SHAPE.dims), dtype=np.uint8)
        return _Rows(pixels, np.arange(count))

    def part(split: str, count: int) -> EvaluationSet:
        return EvaluationSet(rows(count), split, count=count, shape=SHAPE)

    return Evaluation(
        settings=settings,
        objective="calibrated_negative_elbo",
        training=TrainingImages(rows(few), torch.device("cpu")),
        train=part("train", few),
        validation=part("validation", few),
        test=part("test", images),
        test_subset=part("test", few),
        aggregated=part("test", min(images, AGGREGATED)),
        compared=part("test", few),
        spaces={},
    )


def evaluate(model: VAE, found: Evaluation) -> None:
    """What a confirm run evaluates at its last report."""
    fitted = measure(model, found.train.batches(model.latent))
    found.on_validation(model, fitted, "gaussian")
    _, scores = found.on_test(model, fitted, "gaussian", 0, no_check)
    FinalEvaluation(found, model, fitted, "gaussian", 0, lambda purpose: None, no_check).result()
    scores.to_bytes()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--toy", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    images, rounds = (300, 1) if options.toy else (10_000, options.rounds)
    many = evaluation(images)
    one = replace(many, settings=EvaluationSpec(draws=1))
    draws = many.settings.draws_of(images)
    head = ["model", f"seconds, {draws} draws", "seconds, 1 draw", "ratio", "range", "target"]
    print(table_head(head))
    for name, settings in MODELS.items():
        model = build(settings, SHAPE)
        found = alternate(partial(evaluate, model, many), partial(evaluate, model, one), rounds)
        ratios = [1 / ratio for ratio in reversed(found.ratios)]
        middle = median(ratios)
        print(
            table_line(
                name,
                f"{median(found.ours):.2f}",
                f"{median(found.theirs):.2f}",
                f"{middle:.2f}",
                f"{ratios[0]:.2f}-{ratios[-1]:.2f}",
                f"<= 1.5 {'met' if middle <= 1.5 else 'MISSED'}",
            )
        )


if __name__ == "__main__":
    main()
