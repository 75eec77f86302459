"""Stateless randomness: every draw is a function of a seed and of names, not of earlier draws.

With a persistent generator a number depends on everything drawn earlier: on restarts, neighbours,
the order of arms. Here each draw reseeds a generator with a hash of its purpose, so that a
trial's numbers depend on its seed and its step alone.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the hash is also used by processes that never load torch
    import torch

SEED_LIMIT = 2**32
"""Given seeds are in [0, SEED_LIMIT); derived ones are above it, so the two are never equal.

torch's generator on a CPU keeps the low 32 bits of a seed (torch 2.14.1,
findings/torch214_cpu_seed_has_32_bits.sh): there two streams, given or derived, are one with a
chance of 2^-32."""

_DERIVED = 2**62


def derive(seed: int, *names: str | int) -> int:
    """A seed in [2^62, 2^63) for the purpose ``names`` under ``seed``.

    Equal arguments give equal results on every machine and in every version.
    """
    text = "\x1f".join([str(seed), *(f"{type(name).__name__[0]}{name}" for name in names)])
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return _DERIVED | (int.from_bytes(digest, "big") >> 2)


def reseeded(generator: torch.Generator, seed: int, *names: str | int) -> torch.Generator:
    """``generator``, set to the start of the stream of ``names`` under ``seed``."""
    generator.manual_seed(derive(seed, *names))
    return generator
