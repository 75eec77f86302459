"""Noise variance the decoder predicts (Lin et al. 2019, arXiv 1909.03765: flexible variance)."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from vae_core.balancers.contract import KL_WEIGHT, Balance, Balancer, Scalars, State, Terms
from vae_core.models.contract import Head


class PredictedImageSigma(Balancer):
    """sigma^2 is one number an image that the decoder predicts from z.

    L = mean_i [S_i / (2 sigma_i^2) + D/2 ln(2 pi sigma_i^2)] + k R. The optimum of sigma_i^2 is
    the mean squared error expected at z: the uncertainty of a reconstruction or a sample. ln sigma
    is clipped softly at -6 and starts at 0 (:mod:`vae_core.models.heads`). Reported sigma^2: the
    geometric mean over the batch. To tune: nothing.
    """

    name = "predicted_image_sigma"
    hand_tuned = False
    hyperparameters = {"k": KL_WEIGHT}
    terms = frozenset({"squared_error", "kl", "nll", "log_sigma2"})
    head: ClassVar[Head | None] = "image"

    def balance(self, terms: Terms, state: State, learned: Scalars, hyper: Scalars) -> Balance:
        assert terms.log_sigma2 is not None  # declared
        return Balance(log_sigma2=terms.log_sigma2, k=hyper["k"])

    def reconstruction(self, terms: Terms, at: Balance) -> Tensor:
        assert terms.nll is not None  # declared
        return terms.nll.mean(dim=1)


class PredictedPixelSigma(PredictedImageSigma):
    """sigma^2 is one number a pixel that the decoder predicts from z.

    L = mean_i sum_p [(x - xhat)^2 / (2 sigma^2) + ln(2 pi sigma^2) / 2] + k R. The best likelihoods
    and the worst samples of the family (Rybkin et al. 2021, table 2): pixels that never change get
    a tiny variance and drown the others. ln sigma is clipped softly at -6 and starts at 0. Reported
    sigma^2: the geometric mean over pixels and batch. To tune: nothing.
    """

    name = "predicted_pixel_sigma"
    head = "pixel"
