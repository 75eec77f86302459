"""One process, one trial after another: a loop written by hand to be fast.

    python -m benchmarks.baselines.loop --work digits

Images in memory as floats, no DataLoader, Adam(fused=True), and settings tuned on 2 CPU
cores: bfloat16 and both cores for 28x28, neither for digits. Nothing is logged or survives a
crash.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from benchmarks.baselines.models import loss_of, plain_model
from benchmarks.baselines.works import Pixels, Work, command


def run(work: Work, root: Path, folder: Path) -> list[list[float]]:
    """All trials of ``work``."""
    torch.set_num_threads(work.threads)
    train, validation = map(floats, work.images(root))
    return [trial(work, beta, train, validation) for beta in work.betas()]


def trial(work: Work, beta: float, train: Tensor, validation: Tensor) -> list[float]:
    """The validation losses of one trial."""
    torch.manual_seed(0)
    model = plain_model(work.model, work.shape)
    optimizer = torch.optim.Adam(model.parameters(), lr=work.lr, fused=True)
    reported = []
    for _ in range(work.epochs):
        for rows in torch.randperm(len(train)).split(work.batch_size):
            with torch.autocast("cpu", torch.bfloat16, enabled=work.precision == "bfloat16"):
                loss = loss_of(model, train[rows], beta)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            reported.append(loss_of(model, validation, beta).item())
    return reported


def floats(pixels: Pixels) -> Tensor:
    """Images in [0, 1]."""
    return torch.from_numpy(pixels).float() / 255


if __name__ == "__main__":
    command(run, __doc__)
