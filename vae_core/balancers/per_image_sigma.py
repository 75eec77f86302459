"""Per-image optimal noise variance (Rybkin, Daniilidis & Levine 2021, "sigma-VAE", section 3)."""

from __future__ import annotations

from torch import Tensor

from vae_core.balancers.contract import LN_2PI, Balance, Scalars, State, Terms
from vae_core.balancers.optimal_sigma import OptimalSigma, softly_clipped


class PerImageSigma(OptimalSigma):
    """sigma^2 of every image is that image's own mean squared error; gradients pass through it.

    Up to a constant L = (D/2) mean_i ln MSE_i + k R: an image that is already well reconstructed
    pulls harder. Softly clipped as in :class:`OptimalSigma`. It is the reconstruction term of
    BS-VAE (Kim & Lee 2024, arXiv 2409.09361; their beta is k), which guards the logarithm with
    1e-5 inside instead: ln(2 pi MSE_i + 1e-5). The variance looks at the image it scores, so
    this L is no bound on any likelihood. Reported sigma^2: the geometric mean over the batch. To
    tune: nothing.
    """

    name = "per_image_sigma"

    def balance(self, terms: Terms, state: State, learned: Scalars, hyper: Scalars) -> Balance:
        mse = terms.squared_error / self.shape.dims
        low = hyper["log_sigma_min"].unsqueeze(1)
        return Balance(log_sigma2=softly_clipped(mse, low), k=hyper["k"])

    def reconstruction(self, terms: Terms, at: Balance) -> Tensor:
        normaliser = self.shape.dims * (at.log_sigma2 + LN_2PI)
        return 0.5 * (terms.squared_error * (-at.log_sigma2).exp() + normaliser).mean(dim=1)
