"""Running minimum of a running average of the error (code of Split-VAE)."""

from __future__ import annotations

import torch

from vae_core.balancers.contract import Balance, Scalars, State, Terms
from vae_core.balancers.running_average import RunningAverage


class RunningMinimum(RunningAverage):
    """sigma^2 is the lowest value so far of the moving average of the batches' MSE.

    The first author's revision of the released rule (:class:`AspertiTrentin`) in the code of
    "Split-VAE": m <- decay m + (1 - decay) MSE_batch, then sigma^2 <- min(sigma^2, m), both from 1.
    The average itself may rise again, so noisy batches bias the minimum far less. That code weighs
    the KL divergence by 3 (CelebA with 150 latents, CIFAR-10 with 200) or 8 (MNIST with 32): that
    is k, here 1 by default. To tune: nothing in name; k as published.
    """

    name = "running_minimum"

    def initial_state(self, hyper: Scalars) -> State:
        return {**super().initial_state(hyper), "lowest": torch.ones_like(hyper["decay"])}

    def balance(self, terms: Terms, state: State, learned: Scalars, hyper: Scalars) -> Balance:
        return Balance(log_sigma2=state["lowest"].log(), k=hyper["k"])

    def next_state(self, terms: Terms, state: State, learned: Scalars, hyper: Scalars) -> State:
        average = self.average(terms, state, hyper)
        return {"mse": average, "lowest": torch.minimum(state["lowest"], average)}
