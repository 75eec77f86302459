"""pythae's BetaVAE and BaseTrainer, one trial after another.

    python -m benchmarks.baselines.pythae --work digits

Encoder and decoder are given to it, as its documentation shows; the rest is its own.
"""

from __future__ import annotations

from pathlib import Path

import torch
from pythae.data.datasets import BaseDataset
from pythae.models import BetaVAE, BetaVAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from pythae.trainers.training_callbacks import TrainHistoryCallback
from torch import Tensor, nn

from benchmarks.baselines.models import plain_model
from benchmarks.baselines.works import Pixels, Work, command


class Encoder(BaseEncoder):
    """Layers that give means and log variances side by side."""

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, x: Tensor) -> ModelOutput:
        mu, logvar = self.layers(x).chunk(2, dim=1)
        return ModelOutput(embedding=mu, log_covariance=logvar)


class Decoder(BaseDecoder):
    """Layers that give images."""

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, z: Tensor) -> ModelOutput:
        return ModelOutput(reconstruction=self.layers(z))


def run(work: Work, root: Path, folder: Path) -> list[list[float]]:
    """All trials of ``work``."""
    torch.set_num_threads(work.threads)
    train, validation = map(dataset, work.images(root))
    return [trial(work, beta, train, validation, folder) for beta in work.betas()]


def trial(
    work: Work, beta: float, train: BaseDataset, validation: BaseDataset, folder: Path
) -> list[float]:
    """The validation losses of one trial."""
    torch.manual_seed(0)
    plain = plain_model(work.model, work.shape)
    model = BetaVAE(
        BetaVAEConfig(input_dim=work.shape.chw, latent_dim=work.model["latent"], beta=beta),
        encoder=Encoder(plain.encoder),
        decoder=Decoder(plain.decoder),
    )
    history = TrainHistoryCallback()
    trainer = BaseTrainer(
        model,
        train_dataset=train,
        eval_dataset=validation,
        training_config=BaseTrainerConfig(
            output_dir=str(folder),
            num_epochs=work.epochs,
            learning_rate=work.lr,
            per_device_train_batch_size=work.batch_size,
            per_device_eval_batch_size=work.batch_size,
            seed=0,
            no_cuda=True,
        ),
        callbacks=[history],
    )
    trainer.train()
    losses: list[float] = history.history["eval_loss"]
    return losses


def dataset(pixels: Pixels) -> BaseDataset:
    """Images in [0, 1], without labels."""
    images = torch.from_numpy(pixels).float() / 255
    return BaseDataset(images, torch.zeros(len(images)))


if __name__ == "__main__":
    command(run, __doc__)
