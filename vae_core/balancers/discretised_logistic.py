"""Discretised logistic likelihood (Kingma et al. 2016, arXiv 1606.04934; PixelCNN++'s edges)."""

from __future__ import annotations

import math

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
    real,
)
from vae_core.balancers.learned_sigma import FASTEST, TRAVEL
from vae_core.likelihoods import logistic_bin_nll

START = math.log(math.sqrt(3) / math.pi)
"""ln s of a logistic of variance 1, where ``learned_sigma`` begins."""


class DiscretisedLogistic(Balancer):
    """-ln of the mass of each byte's bin under a logistic of scale s around xhat, + k R.

    One s for all pixels, trained with the network as ln s; the outer bins are open
    (:func:`vae_core.likelihoods.logistic_bin_nll`). It is a mass and not a density: L is
    D ln 256 above a density's, and may be ranked with no other balancer's. A mass is at most 1,
    so sigma cannot fall below what the rounding of bytes allows. A decoder whose means end at 0
    and 1 (the built-in ones') gives black and white bytes half of the mass at most: images with
    many of them are paid for by a wide s. Reported sigma^2: the logistic's variance,
    pi^2 s^2 / 3. To tune: nothing.
    """

    name = "discretised_logistic"
    hand_tuned = False
    hyperparameters = {
        "k": KL_WEIGHT,
        "log_scale_init": real(START, "ln s before the first step"),
        "log_scale_lr": positive(None, "Adam's learning rate of ln s; by default 30 / steps"),
    }
    terms = frozenset({"squared_error", "kl", "x", "xhat"})
    learned = {"log_scale": Learned(init="log_scale_init", lr="log_scale_lr")}
    likelihood = "discretised_logistic"

    def derived(self, steps: int) -> dict[str, float]:
        return {"log_scale_lr": min(TRAVEL / steps, FASTEST)}

    def balance(self, terms: Terms, state: State, learned: Scalars, hyper: Scalars) -> Balance:
        return Balance(2 * (learned["log_scale"] - START), hyper["k"])

    def reconstruction(self, terms: Terms, at: Balance) -> Tensor:
        assert terms.x is not None  # declared
        assert terms.xhat is not None
        log_scale = (0.5 * at.log_sigma2 + START).view(-1, 1, 1)
        return logistic_bin_nll(terms.x, terms.xhat, log_scale).sum(dim=2).mean(dim=1)
