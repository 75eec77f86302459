"""Philox 4x32-10: random numbers as a pure function of a key and a counter, on any device.

Salmon, Moraes, Dror & Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011). Torch's own
generators have to be reseeded for each stream, a call and a kernel each time; here the streams of
all members and of many steps come from the same few operations.

32-bit words are held in int64, whose products wrap around as the algorithm's do.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

ROUNDS = 10
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_WORD = 0xFFFFFFFF
_Words = tuple[Tensor, Tensor, Tensor, Tensor]


def philox(counter: _Words, key: tuple[Tensor, Tensor]) -> _Words:
    """Four random words for a counter of four words and a key of two; int64, broadcast together."""
    a, b, c, d = counter
    k, m = key
    for _ in range(ROUNDS):
        left, right = a * _MULTIPLIERS[0], c * _MULTIPLIERS[1]
        a, b = _high(right) ^ b ^ k, right & _WORD
        c, d = _high(left) ^ d ^ m, left & _WORD
        k, m = (k + _WEYL[0]) & _WORD, (m + _WEYL[1]) & _WORD
    return a, b, c, d


def uniforms(keys: Tensor, steps: Tensor, count: int) -> Tensor:
    """``count`` numbers uniform on [0, 1) for each of ``steps``, [*steps.shape, count], float32.

    Args:
        keys: int64 >= 0, one a stream; of ``steps``'s shape or broadcast to it.
        steps: int64 >= 0, places in the streams.
        count: numbers at each place.
    """
    return torch.cat([(word >> 8) * 2.0**-24 for word in _words(keys, steps, count)], dim=-1)[
        ..., :count
    ]


def normals(keys: Tensor, steps: Tensor, count: int) -> Tensor:
    """The same, standard normal (Box & Muller 1958)."""
    one, two, three, four = (
        word.float() * 2.0**-32 + 2.0**-33 for word in _words(keys, steps, count)
    )
    drawn = []
    for radius, angle in ((one, two), (three, four)):
        length, turn = torch.sqrt(-2 * torch.log(radius)), 2 * math.pi * angle
        drawn += [length * torch.cos(turn), length * torch.sin(turn)]
    return torch.cat(drawn, dim=-1)[..., :count]


def halves(keys: Tensor, steps: Tensor, count: int) -> Tensor:
    """The same, whole numbers uniform on [0, 2^16), int64; half as much work as uniforms."""
    words = _words(keys, steps, math.ceil(count / 2))
    parts = [part for word in words for part in (word & 0xFFFF, word >> 16)]
    return torch.cat(parts, dim=-1)[..., :count]


def _words(keys: Tensor, steps: Tensor, count: int) -> _Words:
    """Words for a quarter of ``count`` numbers each, rounded up; the last axis counts them."""
    keys, steps = keys.unsqueeze(-1), steps.unsqueeze(-1)
    block = torch.arange(math.ceil(count / 4), device=steps.device)
    counter = (block, steps & _WORD, _high(steps), torch.zeros_like(block))
    return philox(counter, (keys & _WORD, _high(keys)))


def _high(product: Tensor) -> Tensor:
    """Its upper word: the shift alone would carry the sign along."""
    return (product >> 32) & _WORD
