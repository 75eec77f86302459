"""Computed noise variance from a running average of the error (Asperti & Trentin 2020).

arXiv 2002.07514, IEEE Access 8:199440; constants from the code released with it. "Computed
gamma" names several rules; each here is one of them.
"""

from __future__ import annotations

from collections.abc import Mapping

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

DECAY = positive(0.99, "weight of the past in the running average", high=1.0)


class RunningAverage(Balancer):
    """sigma^2 is an exponential moving average of the batches' MSE, without gradient.

    m <- decay m + (1 - decay) MSE_batch after each step, from m = 1. To tune: nothing.
    """

    name = "running_average"
    hand_tuned = False
    hyperparameters = {"k": KL_WEIGHT, "decay": DECAY}

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
    rise again. To tune: nothing in name; k in effect.
    """

    name = "asperti_trentin"
    hyperparameters = {
        "k": positive(
            None, "KL weight; by default (2 side / latent)^2, as released", trade_off=True
        ),
        "decay": DECAY,
    }

    def complete(self, given: Mapping[str, float]) -> dict[str, float]:
        released = (2 * self.shape.height / self.latent) ** 2
        return {"k": released, **super().complete(given)}

    def next_state(self, terms: Terms, state: State, learned: Scalars, hyper: Scalars) -> State:
        return {"mse": torch.minimum(state["mse"], self.average(terms, state, hyper))}
