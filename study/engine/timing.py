"""How fast banks of different widths train on a device: the basis of ``slots: auto``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from study.engine.config import CLEARLY
from vae_core.bank import Bank, Member
from vae_core.batches import TrainingImages
from vae_core.data import Dataset, PreparedData
from vae_core.memory import is_out_of_memory

STEPS, TIMES = 2, 2
"""Steps of a timing, and timings of a bank: the fastest counts."""
LONG_STEP = 5e-3
"""Seconds a member's step may take on a CPU for a wider bank to be tried: what a bank saves there
is the overhead of small operations, about a millisecond a step; the rest is arithmetic."""


def time_widths(
    spec: Mapping[str, Any], data: Mapping[str, Any], device: str, widths: Sequence[int]
) -> dict[int, float]:
    """Seconds per image of the spec's model in banks of ``widths`` rows, the narrowest first.

    It ends with the first width that is not clearly faster than the one before it, or does not
    fit. The two are timed in turn, so that other load on the machine affects both.

    Raises:
        RuntimeError: not even the narrowest fits into memory, or what the model raises.
    """
    prepared, training = PreparedData.from_dict(data), spec["training"]
    opened = Dataset.open(prepared, spec["data"]["validation"], verify=False)
    images = TrainingImages(opened.train, torch.device(device))
    member = Member(0, training["lr"], "learned_sigma", {}, steps=STEPS)
    found: dict[int, float] = {}
    before: list[Bank] = []
    for width in widths:
        try:
            bank = Bank(
                spec["model"],
                images,
                opened.shape,
                width=width,
                batch_size=training["batch_size"],
                dequantize=training["dequantize"],
                precision=spec["engines"]["precision"],
            )
            for _ in range(TIMES):
                for timed in (*before, bank):
                    seconds = timed.seconds_per_image(member, STEPS)
                    found[timed.width] = min(found.get(timed.width, math.inf), seconds)
                step = found[width] * training["batch_size"]
                if device == "cpu" and not before and step > LONG_STEP:
                    return found
        except RuntimeError as error:
            if not before or not is_out_of_memory(error):
                raise
            found.pop(width, None)
            break
        if before and found[width] * CLEARLY > found[before[0].width]:
            break
        before = [bank]
    return found
