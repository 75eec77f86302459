"""Schedules: their clock, their shapes, and a beta that follows one.

A schedule's length is a hyperparameter in epochs, like every length in a study file. Whatever is
derived where none is given is a share of the training, so that a schedule arrives in any.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor

from vae_core.balancers.contract import Balance, Balancer, Scalars, State, Terms


def clock(like: Tensor) -> Tensor:
    """Steps made before the first: 0, int64, in the shape of ``like``."""
    return torch.zeros_like(like, dtype=torch.int64)


def ramp(step: Tensor, length: Tensor) -> Tensor:
    """min(1, step / length), from 0 at step 0; ``length`` in steps."""
    return (step / length).clamp(max=1.0)


def cycle(step: Tensor, period: Tensor, ratio: Tensor) -> Tensor:
    """A ramp over the first ``ratio`` of each ``period`` (steps), and 1 over the rest of it."""
    return ramp(torch.remainder(step, period), period * ratio)


def covered(steps: int, length: float) -> float:
    """Share of a schedule of ``length`` steps that a training of ``steps`` covers, 1 at most."""
    return min(1.0, steps / length)


class ScheduledBeta(Balancer):
    """Loss S/2 + share(t) beta R: sigma^2 = 1, k = share(t) beta at step t = 0, 1, ...

    ``beta`` is what the schedule ends at, so that it may be given for another loss
    (``convention``) like that of a fixed beta.
    """

    hand_tuned = True

    @abstractmethod
    def share(self, step: Tensor, hyper: Scalars) -> Tensor:
        """Of beta, at ``step`` (int64 [K], from 0): [K], 0 or more; 1 once it has arrived."""

    def reached(self, values: Mapping[str, float], steps: int) -> float:
        hyper = {name: torch.tensor([value]) for name, value in values.items()}
        return float(self.share(torch.tensor([steps - 1]), hyper))

    def initial_state(self, hyper: Scalars) -> State:
        return {"step": clock(hyper["beta"])}

    def balance(self, terms: Terms, state: State, learned: Scalars, hyper: Scalars) -> Balance:
        beta = hyper["beta"]
        return Balance(torch.zeros_like(beta), beta * self.share(state["step"], hyper))

    def next_state(self, terms: Terms, state: State, learned: Scalars, hyper: Scalars) -> State:
        return {"step": state["step"] + 1}
