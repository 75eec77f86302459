"""The members of a bank: what makes one, its account on the host, and a segment of its training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from vae_core.batches import BatchOrder, TrainingImages


@dataclass(frozen=True)
class Member:
    """What makes one member of a bank differ from another."""

    seed: int
    lr: float
    """Adam's learning rate of the network, in the first epochs."""
    balancer: str
    hyper: Mapping[str, float]
    """Hyperparameters of the balancer that were given; it derives the rest, or has defaults."""
    steps: int
    """Of its whole training, from which the balancer derives rates."""
    halve_every: float | None = None
    """Epochs after which every learning rate, those of learned scalars too, is halved, again and
    again; None: never."""


@dataclass(frozen=True)
class Segment:
    """A member's training since its last segment: means over the steps, nats per image."""

    loss: float
    squared_error: float
    """S, summed over pixels."""
    kl: float
    """R, summed over latents."""
    sigma2: float
    """sigma^2 that the last step was trained with."""
    k: float
    """KL weight that the last step was trained with."""
    diverged_at: int | None
    """First step (from 1) whose loss was not finite."""


@dataclass
class Held:
    """The host's account of a member that is in a bank."""

    member: Member
    order: BatchOrder
    step: int
    halving: float
    """Steps between two halvings of the learning rates."""
    history: list[Tensor]
    """Per chunk [steps, 3]: loss, S, R of each step since the last segment."""

    @classmethod
    def of(
        cls,
        member: Member,
        images: TrainingImages,
        batch_size: int,
        step: int,
        history: list[Tensor],
    ) -> Held:
        """The account of a member that is ``step`` steps old."""
        order = BatchOrder(images, member.seed, batch_size)
        halving = math.inf
        if member.halve_every is not None:
            per_epoch = images.count // batch_size
            halving = max(1, round(member.halve_every * per_epoch))
        return cls(member, order, step, halving, history)

    def segment(self, log_sigma2: float, k: float) -> Segment:
        """The steps since the last segment, which ends here with this balance."""
        steps = torch.cat(self.history).double()
        self.history.clear()
        bad = (~torch.isfinite(steps[:, 0])).nonzero()
        first = self.step - len(steps) + 1
        loss, error, kl = steps.mean(dim=0).tolist()
        return Segment(
            loss=loss,
            squared_error=error,
            kl=kl,
            sigma2=math.exp(log_sigma2) if log_sigma2 < 700 else math.inf,
            k=k,
            diverged_at=first + int(bad[0]) if len(bad) else None,
        )
