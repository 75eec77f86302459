"""An engine's banks: one for each shape of its trials."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import torch

from study.engine.config import EngineConfig
from study.engine.slots import Slots
from study.engine.trial_run import TrialRun
from vae_core.bank import Bank
from vae_core.batches import TrainingImages
from vae_core.geometry import ImageShape
from vae_core.memory import free_unused_memory
from vae_core.numerics import numerics_key

CHUNK_SECONDS = 0.5
"""The longest that a bank trains at a time: how long an admission waits at most."""
PILOT_STEPS = 5


@dataclass
class TimedBank:
    """A bank, and how fast it trains."""

    bank: Bank
    step_seconds: float = CHUNK_SECONDS


class Banks:
    """The banks of one engine; only its training thread changes them.

    Args:
        config: the engine's.
        images: what its trials train on.
        shape: of an image.
        slots: their number is the width of a bank.
    """

    def __init__(
        self, config: EngineConfig, images: TrainingImages, shape: ImageShape, slots: Slots
    ) -> None:
        self._config, self._images, self._shape, self._slots = config, images, shape, slots
        self._banks: dict[str, TimedBank] = {}
        self._pilots: dict[str, float] = {}
        self._dropped = False

    @property
    def all(self) -> list[Bank]:
        """Every bank that the device holds."""
        return [timed.bank for timed in self._banks.values()]

    def busy(self) -> list[TimedBank]:
        """Banks that have members."""
        return [timed for timed in self._banks.values() if self.members(timed)]

    def idle(self, but: Collection[str] = ()) -> list[Bank]:
        """Banks that have none; not those of shapes that a trial is just about to enter."""
        return [
            timed.bank
            for shape, timed in self._banks.items()
            if shape not in but and not self.members(timed)
        ]

    def members(self, timed: TimedBank) -> list[TrialRun]:
        """The runs in the rows of a bank."""
        return [run for run in self._slots.occupants if run.bank is timed.bank]

    def bank_of(self, run: TrialRun) -> Bank:
        """The bank of the run's shape: made if there is none, and timed if it is the first.

        A search over shapes has many, one after another: a bank that is made takes the place of
        those that have no members.
        """
        shape = run.shape
        if shape not in self._banks:
            self.drop(self.idle({waiting.shape for waiting in self._slots.waiting}))
            if self._dropped:  # not when they were: the exception that they raised held them
                free_unused_memory()
                self._dropped = False
            settings = run.request["settings"]
            bank = Bank(
                settings["model"],
                self._images,
                self._shape,
                width=self._slots.width,
                batch_size=settings["training"]["batch_size"],
                dequantize=settings["training"]["dequantize"],
                head=run.rule.head,
                gated=run.rule.gated,
                precision=self._config.precision,
            )
            if shape not in self._pilots:
                self._pilots[shape] = self._time(bank, run)
            self._banks[shape] = TimedBank(bank)
        return self._banks[shape].bank

    def drop(self, banks: Collection[Bank | None]) -> None:
        """Forget some banks with all their rows."""
        self._banks = {k: timed for k, timed in self._banks.items() if timed.bank not in banks}
        self._dropped |= bool(banks)

    def halve(self) -> None:
        """Make banks of half the width from now on."""
        with self._slots.change:
            self._slots.width //= 2
        self._pilots.clear()  # they are of the former width

    def placement(self, run: TrialRun) -> dict[str, Any]:
        """Where the run trains: ``engine``, ``shape``, numerics ``key``, and the shape's timing.

        ``unrecorded`` says why, where steps are made one by one that should be replayed.
        """
        shape = run.shape
        timed = self._banks.get(shape)
        why = "" if timed is None else timed.bank.unrecorded
        return {
            **({"unrecorded": why} if why else {}),
            "engine": self._config.name,
            "shape": shape,
            "key": numerics_key(
                torch.device(self._config.device), self._slots.width, self._config.precision
            ),
            "seconds_per_image": self._pilots.get(shape),
        }

    def _time(self, bank: Bank, run: TrialRun) -> float:
        """Seconds per image of a full bank."""
        start = time.perf_counter()
        try:
            return bank.seconds_per_image(run.member, PILOT_STEPS)
        finally:
            with self._slots.change:
                self._slots.account.seconds["pilot"] += time.perf_counter() - start
