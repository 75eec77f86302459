"""Layers people use: which train several to a bank, which one, and which not at all, and why."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from own_layers import ONE_ROW, SEVERAL_ROWS, SHAPE, Layered
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vae_core.errors import ContractError
from vae_core.models import check_model


@pytest.mark.parametrize("kind", SEVERAL_ROWS)
def test_what_vmap_can_run_trains_together(kind: type[Layered]) -> None:
    assert check_model(kind, SHAPE, 2).one_row is None


@pytest.mark.parametrize(("kind", "reason"), ONE_ROW.items())
def test_what_only_vmap_cannot_run_gets_one_row_and_the_reason(
    kind: type[Layered], reason: str
) -> None:
    found = check_model(kind, SHAPE, 2).one_row
    assert found is not None
    assert found.startswith(f"torch.func.vmap cannot run {reason}")


class Remembering(Layered):
    """vmap cannot run it, and it does not look its weight up."""

    def made(self) -> nn.Module:
        layer = nn.Linear(8, 8)
        self.remembered = [layer.weight]
        return layer

    def seen(self, rows: Tensor) -> Tensor:
        if rows.mean() > 100:
            return rows
        return self.layer(rows) @ self.remembered[0]


class Function(Layered):
    def seen(self, rows: Tensor) -> Tensor:
        return nn.functional.dropout(rows, 0.5, self.training)


class AlwaysDropping(Layered):
    def seen(self, rows: Tensor) -> Tensor:
        return nn.functional.dropout(rows, 0.5)


class InsideAnLstm(Layered):
    def made(self) -> nn.Module:
        return nn.LSTM(8, 8, 2, dropout=0.5, batch_first=True)

    def seen(self, rows: Tensor) -> Tensor:
        return self.layer(rows)[0]


class Leaky(Layered):
    def made(self) -> nn.Module:
        return nn.Sequential(nn.Linear(8, 8), nn.RReLU())


class PythonNoise(Layered):
    def seen(self, rows: Tensor) -> Tensor:
        return rows * (1 + random.random() * self.training)


class OwnGenerator(Layered):
    numbers = np.random.default_rng(0)

    def seen(self, rows: Tensor) -> Tensor:
        return rows * float(self.numbers.random())


class Counting(Layered):
    """A warm-up of a thousand calls: two of them are alike."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self.calls = 0

    def seen(self, rows: Tensor) -> Tensor:
        self.calls += self.training
        return rows if self.calls < 1000 else 2 * rows


class FlaggedInALayer(Layered):
    """What a first call leaves behind, in evaluation too."""

    class Once(nn.Module):
        ready = False

        def __init__(self) -> None:
            super().__init__()
            self.ready = False

        def forward(self, x: Tensor) -> Tensor:
            self.ready = True
            return x

    def made(self) -> nn.Module:
        return self.Once()


class MovingAverage(Layered):
    average: Tensor | float = 0.0

    def seen(self, rows: Tensor) -> Tensor:
        self.average = 0.9 * self.average + rows.mean().detach()
        return rows - self.average


class OfTheBatch(Layered):
    def made(self) -> nn.Module:
        return nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8, track_running_stats=False))


class TwiceAStep(Layered):
    def made(self) -> nn.Module:
        return nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5))

    def seen(self, rows: Tensor) -> Tensor:
        found: Tensor = checkpoint(self.layer, rows, use_reentrant=False)
        return found


class Reentrant(Layered):
    def made(self) -> nn.Module:
        return nn.Linear(8, 8)

    def seen(self, rows: Tensor) -> Tensor:
        found: Tensor = checkpoint(self.layer, self.layer(rows), use_reentrant=True)
        return found


RANDOM = "draws random numbers of its own"
STATE = "keeps state outside its buffers"


@pytest.mark.parametrize(
    ("kind", "complaint", "remedy"),
    [
        (Function, f"{RANDOM}, in the model itself, in training mode", "nn.Dropout"),
        (AlwaysDropping, f"{RANDOM}, in the model itself, in evaluation mode", "nn.Dropout"),
        (InsideAnLstm, f"{RANDOM}, in 'layer' (LSTM), in training mode", "inside an LSTM"),
        (Leaky, f"{RANDOM}, in 'layer.1' (RReLU), in training mode", "nn.Dropout"),
        (PythonNoise, f"{RANDOM}, of numpy or Python, in evaluation mode", "remove them"),
        (OwnGenerator, f"{STATE}, or {RANDOM}", "register_buffer"),
        (
            Counting,
            f"{STATE}: calls change attribute 'calls' of the model itself from 0 to 2",
            "buf",
        ),
        (FlaggedInALayer, f"{STATE}: calls change attribute 'ready' of 'layer' (Once)", "buffer"),
        (MovingAverage, f"{STATE}, or {RANDOM}: equal calls", "buffer"),
        (OfTheBatch, "in evaluation mode: 'layer.1' (BatchNorm1d) mixes them", "track_running"),
        (TwiceAStep, "changes buffer 'layer.1.calls' in the backward pass too", "checkpoint"),
        (Reentrant, "cannot be differentiated: RuntimeError", "use_reentrant=False"),
        (Remembering, "differs as a row of stacked parameters", "as attributes of their modules"),
    ],
)
def test_what_cannot_run_is_refused_with_the_reason(
    kind: type[Layered], complaint: str, remedy: str
) -> None:
    with pytest.raises(ContractError) as caught:
        check_model(kind, SHAPE, 2)
    assert complaint in caught.value.what
    assert remedy in caught.value.remedy


def test_checking_leaves_every_global_generator_alone() -> None:
    torch.manual_seed(0)

    def states() -> list[object]:
        return [
            torch.get_rng_state().tolist(),
            np.random.get_state()[1].tolist(),
            random.getstate(),
        ]

    before = states()
    for kind in (Function, PythonNoise):
        with pytest.raises(ContractError):
            check_model(kind, SHAPE, 2)
    assert states() == before
