"""Capacity annealing (Burgess et al. 2018, arXiv 1804.03599, section 5)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from vae_core.balancers.contract import Balance, Balancer, Scalars, State, Terms, positive
from vae_core.balancers.control_vae import TARGET
from vae_core.balancers.schedules import clock, covered, ramp

RAMP = 0.5
"""Share of the training in which C rises, if no length is given."""


class Capacity(Balancer):
    """L = S/2 + gamma |R - C(t)|, R the batch's mean; C rises linearly from 0 to the target.

    R is pinned at C, from above and from below, as soon as gamma exceeds the beta at which R would
    be C by itself (the penalty is exact from its multiplier on). With images in [0, 1] that beta is
    below the pixels' variance, hence below 1/4. A larger gamma pins no better, and its sign, which
    changes from step to step, is all that Adam sees: on digits at R = 5 the error after 2,000 steps
    is 0.030 at gamma 1 and 0.068 at 1,000. The paper's 1,000 is for a Bernoulli likelihood; others'
    code has 10 to 1,000. Reported k: gamma, the weight of the distance and not of R. The paper
    chooses the target large enough for a good reconstruction, which takes a pilot to see. To
    tune: target.
    """

    name = "capacity"
    hand_tuned = True
    hyperparameters = {
        "target": TARGET,
        "ramp_epochs": positive(
            None, "epochs until C is the target; by default half of the training"
        ),
        "gamma": positive(1.0, "weight of the distance of R from C"),
    }

    def derived(self, steps: int) -> dict[str, float]:
        return {"ramp_epochs": RAMP * steps / self.epoch}

    def reached(self, values: Mapping[str, float], steps: int) -> float:
        return covered(steps, values["ramp_epochs"] * self.epoch)

    def initial_state(self, hyper: Scalars) -> State:
        return {"step": clock(hyper["target"])}

    def balance(self, terms: Terms, state: State, learned: Scalars, hyper: Scalars) -> Balance:
        return Balance(torch.zeros_like(hyper["gamma"]), hyper["gamma"])

    def penalty(self, terms: Terms, state: State, hyper: Scalars) -> Tensor:
        capacity = hyper["target"] * ramp(state["step"], hyper["ramp_epochs"] * self.epoch)
        return (super().penalty(terms, state, hyper) - terms.kl.shape[1] * capacity).abs()

    def next_state(self, terms: Terms, state: State, learned: Scalars, hyper: Scalars) -> State:
        return {"step": state["step"] + 1}
