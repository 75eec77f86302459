"""Constrained reconstruction error, GECO (Rezende & Viola 2018, arXiv 1810.00597, algorithm 1)."""

from __future__ import annotations

import math

import torch

from vae_core.balancers.contract import Balance, Balancer, Scalars, State, Terms, positive
from vae_core.balancers.running_average import MEMORY
from vae_core.balancers.schedules import clock

TRAVEL = 30.0
"""How far ln lambda can move in a whole training, if no rate is given."""
FASTEST = 0.1
"""The largest rate that is derived."""
LIMIT = math.log(1e10)
"""Bound of abs(ln lambda): a kappa out of reach would drive it on for ever."""


class Geco(Balancer):
    """min R subject to MSE <= kappa^2, by its multiplier: L = R + lambda (S - D kappa^2).

    That is sigma^2 = 1 / (2 lambda) and k = 1, up to a constant. From lambda = 1, after each step
    ln lambda += rate clip(m / kappa^2 - 1, -1, 1), m the moving average of the batches' MSE, which
    begins with the first batch's. The paper multiplies lambda by exp(m - kappa^2), in units in
    which it may explode, with a decay of 0.99 and a rate left open; here the error is relative,
    and both follow the training: a memory of a hundredth of it, and 30 / steps. The gradient is
    that of the batch at hand. kappa is a standard deviation per pixel; the paper's is sqrt(D)
    times as large. It is the same one-dimensional search as beta in other units; where it is out of
    reach lambda ends at its bound, 1e10, and R is ignored. The paper has no rule for kappa:
    choosing one takes a training that shows which errors are in reach. To tune: kappa.
    """

    name = "geco"
    hand_tuned = True
    hyperparameters = {
        "kappa": positive(
            None, "root mean squared error per pixel to keep", trade_off=True, required=True
        ),
        "rate": positive(None, "how fast ln lambda moves; by default 30 / steps"),
        "decay": positive(
            None, "weight of the past in the average; by default exp(-1 / (0.01 steps))", high=1.0
        ),
    }

    def derived(self, steps: int) -> dict[str, float]:
        decay = math.exp(-1 / max(MEMORY * steps, 1))
        return {"rate": min(TRAVEL / steps, FASTEST), "decay": decay}

    def initial_state(self, hyper: Scalars) -> State:
        none = torch.zeros_like(hyper["kappa"])
        return {"log_lambda": none, "mse": none.clone(), "step": clock(none)}

    def balance(self, terms: Terms, state: State, learned: Scalars, hyper: Scalars) -> Balance:
        log_lambda = state["log_lambda"]
        return Balance(-math.log(2) - log_lambda, torch.ones_like(log_lambda))

    def next_state(self, terms: Terms, state: State, learned: Scalars, hyper: Scalars) -> State:
        batch = terms.squared_error.mean(dim=1) / self.shape.dims
        moved = hyper["decay"] * state["mse"] + (1 - hyper["decay"]) * batch
        mse = torch.where(state["step"] == 0, batch, moved)
        excess = (mse / hyper["kappa"] ** 2 - 1).clamp(-1, 1)
        log_lambda = (state["log_lambda"] + hyper["rate"] * excess).clamp(-LIMIT, LIMIT)
        return {"log_lambda": log_lambda, "mse": mse, "step": state["step"] + 1}
