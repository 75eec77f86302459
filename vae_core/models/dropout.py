"""Dropout whose masks depend on the trial's seed, the layer's name and the number of the call.

Torch draws them from one global generator: a trial's masks would depend on everything drawn
before, and ``vmap`` refuses to draw. Here a mask is a place in a Philox stream
(:mod:`vae_core.philox`): the layer's ``key`` is the stream, and ``calls`` counts the places. Both
are buffers, so they are a row of a bank and part of a checkpoint like any other. They do not
persist in a state dict, since evaluation drops nothing. Masks are equal on every device and in a
bank of any width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from vae_core.philox import halves
from vae_core.randomness import derive

STEPS = 2**16
"""Probabilities are rounded to multiples of 1 / STEPS."""
ALPHA = 1.7580993408473766
"""What a self-normalising network's SELU tends to is -ALPHA (Klambauer et al. 2017)."""


class Stateless(nn.Module):
    """What the layers below have in common: :func:`make_stateless` makes them of torch's own.

    Attributes:
        p: the probability of dropping a value, or a channel.
        key: the key of its stream, int64 [].
        calls: how often it was called in training mode, int64 [].
    """

    p: float
    inplace: bool
    key: Tensor
    calls: Tensor
    unbatched: int | None = None
    """Dimensions of an input without a batch; None: values are dropped, not channels."""

    def restart(self, seed: int, name: str) -> None:
        """Begin the stream of trial ``seed`` for the layer of this ``name``."""
        self.key.fill_(derive(seed, "dropout", name))
        self.calls.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """``x``, in training mode with values or channels dropped."""
        if not self.training or self.p == 0:
            return x
        found = self._dropped(x, self._kept(x))
        return x.copy_(found) if self.inplace else found

    def _kept(self, x: Tensor) -> Tensor:
        """What is kept, bool, in the shape of ``x`` or [B, C, 1, ...]."""
        shape = x.shape
        if self.unbatched is not None:
            leading = 1 if x.dim() == self.unbatched else 2
            shape = torch.Size([*shape[:leading], *[1] * (x.dim() - leading)])
        drawn = halves(self.key, self.calls, math.prod(shape))
        self.calls.add_(1)
        return drawn.view(shape) >= round(self.p * STEPS)

    @property
    def _share(self) -> float:
        """The probability as it is rounded."""
        return round(self.p * STEPS) / STEPS

    def _dropped(self, x: Tensor, kept: Tensor) -> Tensor:
        return x * kept * (1 / (1 - self._share) if self._share < 1 else 0.0)


class _Alpha(Stateless):
    """Dropped values become -ALPHA; the result keeps mean 0 and variance 1."""

    def _dropped(self, x: Tensor, kept: Tensor) -> Tensor:
        p = self._share
        if p == 1:
            return x * 0.0
        scale = 1 / math.sqrt((1 - p) * (1 + p * ALPHA**2))
        return scale * (torch.where(kept, x, -ALPHA) + ALPHA * p)


class Dropout(Stateless, nn.Dropout):
    """``nn.Dropout``."""


class Dropout1d(Stateless, nn.Dropout1d):
    """``nn.Dropout1d``."""

    unbatched = 2


class Dropout2d(Stateless, nn.Dropout2d):
    """``nn.Dropout2d``, of [B, C, H, W] or [B, C, L]."""

    unbatched = 0  # torch takes every input for a batch


class Dropout3d(Stateless, nn.Dropout3d):
    """``nn.Dropout3d``."""

    unbatched = 4


class AlphaDropout(_Alpha, nn.AlphaDropout):
    """``nn.AlphaDropout``."""


class FeatureAlphaDropout(_Alpha, nn.FeatureAlphaDropout):
    """``nn.FeatureAlphaDropout``."""

    unbatched = 0


class Attention(nn.MultiheadAttention):
    """``nn.MultiheadAttention`` with a layer for the dropout of its weights.

    Torch drops them inside one function. Here its own forward gives the weights, masked and
    normalised, and what follows them is done again: the values' projection and the last layer.
    """

    weights_dropout: Dropout

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """As torch's: outputs, and the weights if they are needed."""
        given = query, key, value, key_padding_mask
        if not self.training:
            return super().forward(*given, need_weights, attn_mask, average_attn_weights, is_causal)
        dropout, self.dropout = self.dropout, 0.0  # torch would draw inside its function
        try:
            _, weights = super().forward(*given, True, attn_mask, False, is_causal)
        finally:
            self.dropout = dropout
        assert weights is not None
        weights = self.weights_dropout(weights)  # [B, heads, L, S], without B if unbatched
        values = self._values(value)
        heads = values.view(*values.shape[:-1], self.num_heads, -1).transpose(-3, -2)
        # A last column for the zero that `add_zero_attn` adds to the values has no part in it.
        found = weights[..., : heads.shape[-2]] @ heads
        joined = found.transpose(-3, -2).flatten(-2)
        # As torch does, which never calls the layer: nor has what wraps it a part in evaluation.
        outputs = nn.functional.linear(joined, self.out_proj.weight, self.out_proj.bias)
        if value.dim() == 3 and not self.batch_first:
            outputs = outputs.transpose(0, 1)
        if not need_weights:
            return outputs, None
        return outputs, weights.mean(dim=-3) if average_attn_weights else weights

    def _values(self, value: Tensor) -> Tensor:
        """The projected values [B, S, E], without B if unbatched."""
        joint = self.in_proj_weight
        weight = self.v_proj_weight if joint is None else joint[-self.embed_dim :]
        bias = self.in_proj_bias
        found = nn.functional.linear(
            value, weight, None if bias is None else bias[-self.embed_dim :]
        )
        if value.dim() == 3 and not self.batch_first:
            found = found.transpose(0, 1)
        if self.bias_v is not None:
            last = self.bias_v.squeeze(0).expand(*found.shape[:-2], 1, -1)
            found = torch.cat([found, last], dim=-2)
        return found


_STATELESS: dict[type[nn.Module], type[Stateless]] = {
    nn.Dropout: Dropout,
    nn.Dropout1d: Dropout1d,
    nn.Dropout2d: Dropout2d,
    nn.Dropout3d: Dropout3d,
    nn.AlphaDropout: AlphaDropout,
    nn.FeatureAlphaDropout: FeatureAlphaDropout,
}


def make_stateless(model: nn.Module) -> None:
    """Turn torch's dropout layers in ``model``, those in its attention too, into the ones here.

    The modules stay the objects they are, so every reference to them holds. Subclasses are left
    alone: their own forward may draw in another way.
    """
    for module in [*model.modules()]:
        if type(module) is nn.MultiheadAttention and module.dropout > 0:
            module.__class__ = Attention
            module.weights_dropout = nn.Dropout(module.dropout)
            module.weights_dropout.train(module.training)
    for module in [*model.modules()]:
        if type(module) in _STATELESS:
            module.__class__ = _STATELESS[type(module)]
            for name in ("key", "calls"):
                zero = torch.zeros((), dtype=torch.int64)
                module.register_buffer(name, zero, persistent=False)


def restart(model: nn.Module, seed: int) -> None:
    """Begin the streams of all dropout layers of ``model`` for trial ``seed``."""
    for name, module in model.named_modules():
        if isinstance(module, Stateless):
            module.restart(seed, name)
