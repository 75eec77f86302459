"""Student-t likelihood (Takahashi et al., IJCAI 2018, "Student-t Variational Autoencoder")."""

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
    real,
)
from vae_core.balancers.learned_sigma import FASTEST, TRAVEL

DF = 10.0
"""Degrees of freedom at the start, near a Gaussian's; no published value."""
DF_TRAVEL = 5.0
"""How far ln df can move in a whole training, if no rate is given."""


class StudentT(Balancer):
    """-ln p = ln B + ln s + (v + 1)/2 ln(1 + (x - xhat)^2 / (v s^2)) a pixel, + k R.

    ln B = lgamma(v/2) - lgamma((v+1)/2) + ln(pi v)/2. Scale s and degrees of freedom v are two
    scalars for all pixels, trained with the network as ln s and ln v; in the paper the decoder
    predicts both for each pixel, which fits better and samples worse (``predicted_pixel_sigma``).
    Large errors weigh as their logarithm: an image that cannot be explained does not set s. As v
    grows it becomes ``learned_sigma``. Reported sigma^2: v s^2 / (v + 1), that of the Gaussian of
    the same curvature at 0; the variance itself is infinite for v <= 2. To tune: nothing.
    """

    name = "student_t"
    hand_tuned = False
    hyperparameters = {
        "k": KL_WEIGHT,
        "log_scale_init": real(0.0, "ln s before the first step"),
        "log_scale_lr": positive(None, "Adam's learning rate of ln s; by default 30 / steps"),
        "log_df_init": real(math.log(DF), "ln v before the first step"),
        "df_lr": positive(None, "Adam's learning rate of ln v; by default 5 / steps"),
    }
    terms = frozenset({"squared_error", "kl", "x", "xhat"})
    learned = {
        "log_scale": Learned(init="log_scale_init", lr="log_scale_lr"),
        "log_df": Learned(init="log_df_init", lr="df_lr"),
    }
    likelihood = "student_t"

    def derived(self, steps: int) -> dict[str, float]:
        rate = min(TRAVEL / steps, FASTEST)
        return {"log_scale_lr": rate, "df_lr": rate * DF_TRAVEL / TRAVEL}

    def balance(self, terms: Terms, state: State, learned: Scalars, hyper: Scalars) -> Balance:
        curved = -torch.log1p((-learned["log_df"]).exp())  # ln v/(v + 1)
        return Balance(2 * learned["log_scale"] + curved, hyper["k"])

    def loss(self, terms: Terms, state: State, learned: Scalars, hyper: Scalars) -> Tensor:
        assert terms.x is not None  # declared
        assert terms.xhat is not None
        log_scale, log_df = learned["log_scale"], learned["log_df"]
        df, error = log_df.exp(), terms.x - terms.xhat
        inverse = (-2 * log_scale - log_df).exp().view(-1, 1, 1)
        tails = torch.log1p(error * error * inverse).sum(dim=2).mean(dim=1)
        constant = _log_normaliser(log_df.double()).to(log_df.dtype)
        nll = self.shape.dims * (constant + log_scale) + 0.5 * (df + 1) * tails
        rate, images = self.penalty(terms, state, hyper), terms.kl.shape[1]
        return torch.addcmul(nll, hyper["k"], rate, value=1 / images)


def _log_normaliser(log_df: Tensor) -> Tensor:
    """Ln B, [K], of float64: in float32 it is lost.

    The lgammas differ by ln(v/2)/2 and grow as v ln v: at v = 1,500 the rounding of float32 is
    more, over an image's pixels, than all that v still changes.
    """
    half = 0.5 * log_df.exp()
    return torch.lgamma(half) - torch.lgamma(half + 0.5) + 0.5 * (math.log(math.pi) + log_df)
