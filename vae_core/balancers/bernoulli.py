"""Bernoulli likelihoods: the cross-entropy half of the field's code trains, and its density."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from vae_core.balancers.contract import KL_WEIGHT, Balance, Balancer, Scalars, State, Terms
from vae_core.likelihoods import Likelihood, continuous_bernoulli_log_normaliser, cross_entropy


class Bernoulli(Balancer):
    """L = mean_i sum_p cross_entropy(x, xhat) + k R: no sigma is chosen, learned or computed.

    The decoder's mean is the probability of white, so it has to lie in [0, 1]. Near the optimum a
    pixel's error weighs 1 / (2 p (1 - p)), that of a Gaussian of variance p (1 - p): a balance set
    by the brightness of pixels and never by how well they are known. On grey images it is no
    likelihood (:func:`vae_core.likelihoods.cross_entropy`), so none of its own is reported.
    Reported sigma^2: the batch's mean squared error. To tune: nothing in name; k in most of the
    code that trains with it.
    """

    name = "bernoulli"
    hand_tuned = False
    hyperparameters = {"k": KL_WEIGHT}
    terms = frozenset({"squared_error", "kl", "x", "xhat"})
    likelihood: ClassVar[Likelihood] = "bernoulli"

    def balance(self, terms: Terms, state: State, learned: Scalars, hyper: Scalars) -> Balance:
        mse = terms.squared_error.detach().mean(dim=1) / self.shape.dims
        return Balance(log_sigma2=mse.log(), k=hyper["k"])

    def reconstruction(self, terms: Terms, at: Balance) -> Tensor:
        assert terms.x is not None  # declared
        assert terms.xhat is not None
        return cross_entropy(terms.x, terms.xhat).sum(dim=2).mean(dim=1)


class ContinuousBernoulli(Bernoulli):
    """L = mean_i sum_p [cross_entropy(x, p) - ln C(p)] + k R (Loaiza-Ganem & Cunningham 2019).

    arXiv 1907.06845: the cross-entropy made a density of x in [0, 1] by its normaliser, which is
    largest where p is near 0 or 1. The mean of that density is not p but drawn towards 1/2; what is
    measured and shown as the reconstruction is p, as everywhere. Reported sigma^2: the batch's
    mean squared error. To tune: nothing in name.
    """

    name = "continuous_bernoulli"
    likelihood = "continuous_bernoulli"

    def reconstruction(self, terms: Terms, at: Balance) -> Tensor:
        assert terms.xhat is not None  # declared
        normaliser = continuous_bernoulli_log_normaliser(terms.xhat).sum(dim=2).mean(dim=1)
        return super().reconstruction(terms, at) - normaliser
