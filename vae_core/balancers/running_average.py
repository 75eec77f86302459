"""Computed noise variance from a running average of the error (Asperti & Trentin 2020).

arXiv 2002.07514, IEEE Access 8:199440; constants from the code released with it. "Computed
gamma" names several rules; each here is one of them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vae_core.balancers.contract import (
    KL_WEIGHT,
    Balance,
    Balancer,
    Scalars,
    State,
    Terms,
    positive,
)

MEMORY = 0.01
"""Share of the training that the average remembers, if no decay is given."""
RELEASED_DECAY = 0.99


class RunningAverage(Balancer):
    """sigma^2 is an exponential moving average of the batches' MSE, without gradient.

    m <- decay m + (1 - decay) MSE_batch after each step, from m = 1. By default the memory is a
    hundredth of the training: decay = exp(-1 / (0.01 steps)), and 1 step at least. The released
    0.99, 100 steps, was for 350,000. To tune: nothing.
    """

    name = "running_average"
    hand_tuned = False
    hyperparameters = {
        "k": KL_WEIGHT,
        "decay": positive(
            None,
            "weight of the past in the running average; by default exp(-1 / (0.01 steps))",
            high=1.0,
        ),
    }

    def derived(self, steps: int) -> dict[str, float]:
        return {"decay": math.exp(-1 / max(MEMORY * steps, 1))}

    def initial_state(self, hyper: Scalars) -> State:
        return {"mse": torch.ones_like(hyper["decay"])}

    def balance(self, terms: Terms, state: State, learned: Scalars, hyper: Scalars) -> Balance:
        return Balance(log_sigma2=state["mse"].log(), k=hyper["k"])

    def next_state(self, terms: Terms, state: State, learned: Scalars, hyper: Scalars) -> State:
        return {"mse": self.average(terms, state, hyper)}

    def average(self, terms: Terms, state: State, hyper: Scalars) -> Tensor:
        """The moving average after this batch, [K]."""
        mse = terms.squared_error.mean(dim=1) / self.shape.dims
        return hyper["decay"] * state["mse"] + (1 - hyper["decay"]) * mse


class AspertiTrentin(RunningAverage):
    """The rule as released: the average may only fall, and the KL term has a hidden factor.

    m <- min(m, decay m + (1 - decay) MSE_batch), and k = (2 side / latent)^2 (1 on 32x32 images
    with 64 latents, 4 on 64x64). The minimum biases sigma^2 low under noisy batches and can never
    rise again. Its constants are the released ones, decay 0.99 too, whatever the length of the
    training: :class:`RunningAverage` and :class:`RunningMinimum` adapt. To tune: nothing in name; k
    in effect.
    """

    name = "asperti_trentin"
    hyperparameters = {
        "k": positive(
            None, "KL weight; by default (2 side / latent)^2, as released", trade_off=True
        ),
        "decay": positive(RELEASED_DECAY, "weight of the past, as released", high=1.0),
    }

    def derived(self, steps: int) -> dict[str, float]:
        return {"k": (2 * self.shape.height / self.latent) ** 2}

    def next_state(self, terms: Terms, state: State, learned: Scalars, hyper: Scalars) -> State:
        return {"mse": torch.minimum(state["mse"], self.average(terms, state, hyper))}
