"""Learned scale of a Laplace likelihood (LaDDer: Lin & Clark, BMVC 2020, as released)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vae_core.balancers.contract import (
    KL_WEIGHT,
    Balance,
    Balancer,
    Learned,
    Scalars,
    State,
    Terms,
    positive,
)

TRAVEL = 5.0
"""How far s can move in a whole training, if no rate is given."""
FASTEST = 0.01
"""The largest rate that is derived: s has to come to rest below the mean absolute error."""


class LaplaceScale(Balancer):
    """L = S1 / b + D ln(2 b) + k R, S1 the absolute error; b is trained with the network.

    b is the larger of |s|, s a learned scalar, and the batch's mean absolute error. b = S1/D is
    the batch optimum, so once the bound bites the balance is L = D ln S1 + k R up to a constant,
    and by the envelope theorem it makes no difference whether gradients pass through the bound.
    The released code gives s an Adam of its own with beta2 = 0.95 and clips its gradient to
    [-1, 1]; here beta2 is 0.999 as everywhere and nothing is clipped, which changes only how fast
    s reaches the bound. Under Adam s moves by at most about scale_lr a step: from 0.5 to 0.05 in
    1,800 steps at the released 2.5e-4, in about a tenth of any training by default. Reported
    sigma^2: 2 b^2, the noise's variance. To tune: nothing.
    """

    name = "laplace_scale"
    hand_tuned = False
    hyperparameters = {
        "k": KL_WEIGHT,
        "scale_init": positive(0.5, "s before the first step"),
        "scale_lr": positive(None, "Adam's learning rate of s; by default 5 / steps"),
    }
    terms = frozenset({"squared_error", "kl", "absolute_error"})
    learned = {"scale": Learned(init="scale_init", lr="scale_lr")}
    likelihood = "laplace"

    def derived(self, steps: int) -> dict[str, float]:
        return {"scale_lr": min(TRAVEL / steps, FASTEST)}

    def balance(self, terms: Terms, state: State, learned: Scalars, hyper: Scalars) -> Balance:
        optimum = self._absolute_error(terms) / self.shape.dims
        log_scale = torch.maximum(learned["scale"].abs(), optimum).log()
        return Balance(log_sigma2=math.log(2) + 2 * log_scale, k=hyper["k"])

    def reconstruction(self, terms: Terms, at: Balance) -> Tensor:
        log_scale = 0.5 * (at.log_sigma2 - math.log(2))
        normaliser = self.shape.dims * (math.log(2) + log_scale)
        return self._absolute_error(terms) * (-log_scale).exp() + normaliser

    def _absolute_error(self, terms: Terms) -> Tensor:
        """S1 of each member, [K], mean over the batch."""
        assert terms.absolute_error is not None  # declared
        return terms.absolute_error.mean(dim=1)
