"""Ray Tune as in its documentation: OptunaSearch, ASHA, MLflow's callback, DataLoaders.

    python -m benchmarks.baselines.stock --work digits

A trial is a process on one core. ASHA is asked at every report, and its grace is the whole trial:
the study it is compared with prunes nothing either.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ray
import torch
from optuna.samplers import RandomSampler
from PIL import Image
from ray import tune
from ray.air.integrations.mlflow import MLflowLoggerCallback
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import ToTensor

from benchmarks.baselines.models import loss_of, plain_model
from benchmarks.baselines.works import BETA, Pixels, Work, command


class Pictures(Dataset[Tensor]):
    """Reads an image as ``torchvision.datasets`` do: from its bytes to PIL, then transformed."""

    def __init__(self, pixels: Pixels) -> None:
        self.pixels, self.transform = pixels, ToTensor()

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> Tensor:
        image: Tensor = self.transform(Image.fromarray(self.pixels[index, 0]))
        return image


def train(config: dict[str, Any], work: Work, images: tuple[Pixels, Pixels]) -> None:
    """One trial."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    training = DataLoader(Pictures(images[0]), work.batch_size, shuffle=True)
    validation = DataLoader(Pictures(images[1]), work.batch_size)
    model = plain_model(work.model, work.shape)
    optimizer = torch.optim.Adam(model.parameters(), lr=work.lr)
    for _ in range(work.epochs):
        model.train()
        for x in training:
            loss = loss_of(model, x, config["beta"])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            losses = [loss_of(model, x, config["beta"]).item() * len(x) for x in validation]
        tune.report({"loss": sum(losses) / len(images[1])})


def run(work: Work, root: Path, folder: Path) -> list[list[float]]:
    """All trials of ``work``."""
    ray.init(address="local")  # whatever else runs on this machine
    tuner = tune.Tuner(
        tune.with_resources(
            tune.with_parameters(train, work=work, images=work.images(root)), {"cpu": 1}
        ),
        param_space={"beta": tune.loguniform(*BETA)},
        tune_config=tune.TuneConfig(
            metric="loss",
            mode="min",
            num_samples=work.trials,
            search_alg=OptunaSearch(sampler=RandomSampler(seed=0)),
            scheduler=ASHAScheduler(max_t=work.epochs, grace_period=work.epochs),
        ),
        run_config=tune.RunConfig(
            name=work.name,
            storage_path=str(folder),
            callbacks=[
                MLflowLoggerCallback(
                    tracking_uri=f"sqlite:///{folder}/mlflow.db", experiment_name=work.name
                )
            ],
        ),
    )
    results = tuner.fit()
    ray.shutdown()
    return [result.metrics_dataframe["loss"].tolist() for result in results]


if __name__ == "__main__":
    command(run, __doc__)
