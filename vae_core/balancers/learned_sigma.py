"""Learned noise variance (Lin et al. 2019, arXiv 1909.03765; Dai & Wipf 2019's ln gamma)."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

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

DEQUANTISATION_SIGMA = 1 / (256 * math.sqrt(12))
"""Standard deviation of uniform noise one grey level wide: a sigma below it fits the rounding."""

TRAVEL = 30.0
"""How far ln sigma can move in a whole training, if no rate is given."""
FASTEST = 0.1
"""The largest rate that is derived: at the optimum Adam keeps ln sigma moving by about its rate."""


class LearnedSigma(Balancer):
    """sigma is a scalar trained with the network by maximising the evidence bound, k = 1.

    ln sigma is learned, clamped below at ln sigma_min. Under Adam it moves by at most about
    sigma_lr a step: from sigma 1 to 0.06 takes 2,800 steps at 1e-3. By default it can move by
    TRAVEL in a training of any length, and needs a tenth of it from sigma 1 to 0.05. To tune:
    nothing; where sigma_min is reached, it is the sigma of a constant beta.
    """

    name = "learned_sigma"
    hand_tuned = False
    hyperparameters = {
        "k": KL_WEIGHT,
        "log_sigma_init": real(0.0, "ln sigma before the first step (Dai & Wipf: 0)"),
        "sigma_lr": positive(None, "Adam's learning rate of ln sigma; by default 30 / steps"),
        "sigma_min": positive(DEQUANTISATION_SIGMA, "lower bound of sigma", trade_off=True),
    }
    learned = {"log_sigma": Learned(init="log_sigma_init", lr="sigma_lr")}

    def derived(self, steps: int) -> dict[str, float]:
        return {"sigma_lr": min(TRAVEL / steps, FASTEST)}

    def misfit(self, values: Mapping[str, float]) -> tuple[str, str] | None:
        """A ln sigma that begins at its bound or below, where it has no gradient."""
        start, bound = values["log_sigma_init"], math.log(values["sigma_min"])
        if start <= bound:
            return (
                f"log_sigma_init = {start:g} of balancer '{self.name}' is not above {bound:.4g}, "
                f"the ln of sigma_min = {values['sigma_min']:g}: sigma would never be learned",
                "begin with a larger sigma, or give a smaller sigma_min",
            )
        return None

    def balance(self, terms: Terms, state: State, learned: Scalars, hyper: Scalars) -> Balance:
        log_sigma = torch.maximum(learned["log_sigma"], hyper["sigma_min"].log())
        return Balance(log_sigma2=2 * log_sigma, k=hyper["k"])
