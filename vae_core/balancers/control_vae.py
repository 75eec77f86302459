"""A controlled rate, ControlVAE (Shao et al., ICML 2020, arXiv 2004.05988, and its code)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vae_core.balancers.contract import Balance, Balancer, Scalars, State, Terms, positive

STEEP = 80.0
"""Where exp(error) is cut off, nats: float32 overflows at 88, and 1 / (1 + e^80) is 0 already."""
TARGET = positive(None, "R to reach, nats per image", trade_off=True, required=True)


def mean_rate(terms: Terms) -> Tensor:
    """R of each member, [K], nats per image, without gradient."""
    return terms.kl.detach().sum(dim=2).mean(dim=1)


def pressed(error: Tensor) -> Tensor:
    """1 / (1 + exp(error)), error in nats: 0 far below the target, 1 far above it.

    Not by a sigmoid, which rounds the last entries of a tensor differently from the rest.
    """
    return 1 / (1 + error.clamp(-STEEP, STEEP).exp())


def half_variance(like: Tensor) -> Tensor:
    """Ln of sigma^2 = 1/2, [K]: the loss is then S + k R, which the constants are for."""
    return torch.full_like(like, -math.log(2))


class ControlVae(Balancer):
    """L = S + b R, b set by a PI controller of R: b = kp / (1 + exp(e)) + I, e = target - R.

    I -= ki e in every step, from 0, and b is clipped to [0, beta_max]. R is that of the batch at
    hand. I itself is kept in [0, beta_max]: it leaves the bound in the first step in which the
    error changes its sign. In the released code the test for it (``W < 0 and W >= 1``) is never
    true, so that I winds up: what it gathers while b rests at a bound must be undone first.

    kp, ki and beta_max are those released for images (and S, hence sigma^2 = 1/2 and k = b), for
    1.2 million steps; they do not follow the training. The authors prescribe a pilot: train the
    plain VAE, read its R, and move the target a little from there. To tune: target.
    """

    name = "control_vae"
    hand_tuned = True
    hyperparameters = {
        "target": TARGET,
        "kp": positive(0.01, "gain of the proportional term, as released"),
        "ki": positive(1e-4, "gain of the integral term, per nat and step, as released"),
        "beta_max": positive(1.0, "upper bound of b, as released"),
    }

    def initial_state(self, hyper: Scalars) -> State:
        return {"integral": torch.zeros_like(hyper["target"])}

    def balance(self, terms: Terms, state: State, learned: Scalars, hyper: Scalars) -> Balance:
        proportional = hyper["kp"] * pressed(hyper["target"] - mean_rate(terms))
        wanted = proportional + self._integral(terms, state, hyper)
        return Balance(half_variance(wanted), wanted.minimum(hyper["beta_max"]))

    def next_state(self, terms: Terms, state: State, learned: Scalars, hyper: Scalars) -> State:
        return {"integral": self._integral(terms, state, hyper)}

    def _integral(self, terms: Terms, state: State, hyper: Scalars) -> Tensor:
        """I after the error of this batch, [K]."""
        moved = state["integral"] - hyper["ki"] * (hyper["target"] - mean_rate(terms))
        return moved.clamp(min=0.0).minimum(hyper["beta_max"])
