"""Models with layers people use, each in front of a linear VAE of 8x8 images."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint

from vae_core.geometry import ImageShape
from vae_core.models import VAE

SHAPE = ImageShape(1, 8, 8)


class Layered(VAE):
    """A linear VAE whose images first go through ``layer``, as 8 rows of 8 values [B, 8, 8]."""

    def __init__(self, shape: ImageShape, latent: int) -> None:
        super().__init__(shape, latent)
        self.layer = self.made()
        self.down = nn.Linear(shape.dims, 2 * latent)
        self.up = nn.Linear(latent, shape.dims)

    def made(self) -> nn.Module:
        return nn.Identity()

    def seen(self, rows: Tensor) -> Tensor:
        found: Tensor = self.layer(rows)
        return found

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mu, logvar = self.down(self.seen(x[:, 0]).flatten(1)).chunk(2, dim=1)
        return mu, logvar

    def decode(self, z: Tensor) -> Tensor:
        return torch.sigmoid(self.up(z)).view(-1, *self.shape.chw)


class Transformer(Layered):
    def made(self) -> nn.Module:
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)  # dropout 0.1
        return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


class Decoder(Layered):
    def made(self) -> nn.Module:
        return nn.TransformerDecoderLayer(8, 2, 16, dropout=0.0, batch_first=True)

    def seen(self, rows: Tensor) -> Tensor:
        found: Tensor = self.layer(rows, rows)
        return found


class Attention(Layered):
    def made(self) -> nn.Module:
        return nn.MultiheadAttention(8, 2, dropout=0.2, batch_first=True)

    def seen(self, rows: Tensor) -> Tensor:
        found: Tensor = self.layer(rows, rows, rows)[0]
        return found


class Dropping(Layered):
    """The layer is used twice; the decoder has another one."""

    def made(self) -> nn.Module:
        self.last = nn.Dropout(0.5)
        return nn.Dropout(0.2)

    def seen(self, rows: Tensor) -> Tensor:
        found: Tensor = self.layer(self.layer(rows) + 1)
        return found

    def decode(self, z: Tensor) -> Tensor:
        return super().decode(self.last(z))


class WeightNorm(Layered):
    def made(self) -> nn.Module:
        return parametrizations.weight_norm(nn.Linear(8, 8))


class OldWeightNorm(Layered):
    def made(self) -> nn.Module:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            return nn.utils.weight_norm(nn.Linear(8, 8))


class Gated(Layered):
    def made(self) -> nn.Module:
        return nn.GRUCell(8, 8)

    def seen(self, rows: Tensor) -> Tensor:
        state = None
        for row in rows.unbind(1):
            state = self.layer(row, state)
        assert isinstance(state, Tensor)
        return torch.cat([state] * 8, dim=1)


class SpectralNorm(Layered):
    def made(self) -> nn.Module:
        return parametrizations.spectral_norm(nn.Linear(8, 8))


class OldSpectralNorm(Layered):
    def made(self) -> nn.Module:
        return nn.utils.spectral_norm(nn.Linear(8, 8))


class Recurrent(Layered):
    kind: Any = nn.LSTM

    def made(self) -> nn.Module:
        found: nn.Module = self.kind(8, 8, batch_first=True)
        return found

    def seen(self, rows: Tensor) -> Tensor:
        found: Tensor = self.layer(rows)[0]
        return found


class RecurrentGru(Recurrent):
    kind = nn.GRU


class LstmCell(Layered):
    def made(self) -> nn.Module:
        return nn.LSTMCell(8, 8)

    def seen(self, rows: Tensor) -> Tensor:
        state = None
        for row in rows.unbind(1):
            state = self.layer(row, state)
        assert state is not None
        return torch.cat([state[0]] * 8, dim=1)


class Averaged(Layered):
    """Batch normalisation whose running statistics are plain averages."""

    def made(self) -> nn.Module:
        return nn.BatchNorm1d(8, momentum=None)


class Checkpointed(Layered):
    def made(self) -> nn.Module:
        return nn.Linear(8, 8)

    def seen(self, rows: Tensor) -> Tensor:
        found: Tensor = checkpoint(self.layer, rows, use_reentrant=False)
        return found


class Branching(Layered):
    def seen(self, rows: Tensor) -> Tensor:
        return rows if rows.mean() > 100 else 2 * rows


SEVERAL_ROWS = (Transformer, Decoder, Attention, Dropping, WeightNorm, OldWeightNorm, Gated)
"""What a bank trains several rows of at once."""
ONE_ROW = {
    SpectralNorm: "'layer.parametrizations.weight.0' (_SpectralNorm): Batching rule not",
    OldSpectralNorm: "'layer' (Linear): Batching rule not implemented for aten::div.out",
    Recurrent: "'layer' (LSTM): Batching rule not implemented for aten::lstm.input",
    RecurrentGru: "'layer' (GRU): Batching rule not implemented for aten::gru.input",
    LstmCell: "'layer' (LSTMCell): Batching rule not implemented for aten::lstm_cell",
    Averaged: "'layer' (BatchNorm1d): vmap: It looks like you're calling .item()",
    Checkpointed: "",
    Branching: "the model itself: vmap: It looks like you're attempting to use a Tensor",
}
"""What it trains one row of, and what the check says of it."""
