"""One training for a whole range of beta: the Multi-Rate VAE, and its control.

Bae et al., ICLR 2023, arXiv 2212.03905. Every image of every step is trained at a beta of its own,
which the model's gates see (:mod:`vae_core.models.gated`). Their loss is S + beta' R with beta' in
[0.01, 10]; here beta = beta'/2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from vae_core.balancers.contract import (
    BETA,
    Balance,
    Balancer,
    Hyperparameter,
    Scalars,
    State,
    Terms,
    positive,
)
from vae_core.errors import ContractError

OFFERED = 9
"""Betas at which a trained model is evaluated, evenly in ln beta, both ends among them."""
SQRT3 = math.sqrt(3)


def _range(what: str, *, trade_off: bool) -> dict[str, Hyperparameter]:
    ends = {"low": 0.005, "high": 5.0}
    return {
        f"beta_{end}": positive(default, f"{end}est beta {what}", trade_off=trade_off)
        for end, default in ends.items()
    }


class _Ranged(Balancer):
    """Gates that see u = sqrt(3) (ln beta - m) / h: m the middle of the range of ln beta, h half
    its length. So u has mean 0 and variance 1 where ln beta is uniform on the range.
    """

    gated = True

    def complete(self, given: Mapping[str, float], steps: int) -> dict[str, float]:
        """Every hyperparameter's value.

        Raises:
            ContractError: the range is empty.
        """
        values = super().complete(given, steps)
        low, high = values["beta_low"], values["beta_high"]
        if low >= high:
            raise ContractError(
                f"beta_low = {low:g} of balancer '{self.name}' is not below beta_high = {high:g}",
                remedy="give the ends of a range of beta",
            )
        return values

    def u_of(self, beta: Tensor, hyper: Scalars) -> Tensor:
        return SQRT3 * (beta.log() - _middle(hyper)) / _half(hyper)


class MultiRate(_Ranged):
    """L = mean over images of S_i/2 + beta_i R_i, ln beta_i uniform on the range.

    sigma^2 = 1, and k is the geometric middle of the range. Nobody chooses beta: the trained model
    is evaluated at nine of the range, without further training, and is that of the best.
    Reported in training: means over all betas. Trade-offs: the ends of the range.
    """

    name = "multi_rate"
    hand_tuned = False
    hyperparameters = _range("that the model is trained at", trade_off=True)
    terms = frozenset({"squared_error", "kl", "u"})

    def drawn(self, draws: Tensor, hyper: Scalars) -> Tensor:
        return SQRT3 * (2 * draws - 1)

    def betas(self, values: Mapping[str, float]) -> list[float]:
        low, high = values["beta_low"], values["beta_high"]
        inner = (low * (high / low) ** (i / (OFFERED - 1)) for i in range(1, OFFERED - 1))
        return [low, *inner, high]

    def balance(self, terms: Terms, state: State, learned: Scalars, hyper: Scalars) -> Balance:
        k = _middle(hyper).exp()
        return Balance(log_sigma2=torch.zeros_like(k), k=k)

    def penalty(self, terms: Terms, state: State, hyper: Scalars) -> Tensor:
        assert terms.u is not None  # declared
        of_middle = (terms.u * (_half(hyper) / SQRT3).unsqueeze(1)).exp()
        return (of_middle * terms.kl.sum(dim=2)).sum(dim=1)


class GatesFrozen(_Ranged):
    """The control: the same gated model, trained and evaluated at one beta. Loss S/2 + beta R.

    The range says what u the gates see, the one that `multi_rate` shows them at this beta. What
    differs from `fixed_beta` is the architecture, what differs from `multi_rate` is what one
    model for all betas costs. To tune: beta.
    """

    name = "gates_frozen"
    hand_tuned = True
    hyperparameters = {
        "beta": BETA,
        **_range("of the range in which beta is placed for the gates", trade_off=False),
    }

    def misfit(self, values: Mapping[str, float]) -> tuple[str, str] | None:
        """A beta outside the range, at which the gates would see what they never do."""
        low, high = values["beta_low"], values["beta_high"]
        if not low <= values["beta"] <= high:
            return (
                f"beta = {values['beta']:g} of balancer '{self.name}' is not in the range from "
                f"beta_low = {low:g} to beta_high = {high:g}",
                "give the range in which multi_rate would be trained; by default it is 0.005 to 5 "
                "in S/2 + beta R",
            )
        return None

    def drawn(self, draws: Tensor, hyper: Scalars) -> Tensor:
        return self.u_of(hyper["beta"], hyper).unsqueeze(1).expand_as(draws)

    def betas(self, values: Mapping[str, float]) -> list[float]:
        return [values["beta"]]

    def balance(self, terms: Terms, state: State, learned: Scalars, hyper: Scalars) -> Balance:
        beta = hyper["beta"]
        return Balance(log_sigma2=torch.zeros_like(beta), k=beta)


def _middle(hyper: Scalars) -> Tensor:
    """The middle of the range of ln beta, [K]."""
    return 0.5 * (hyper["beta_low"].log() + hyper["beta_high"].log())


def _half(hyper: Scalars) -> Tensor:
    """Half the length of the range of ln beta, [K]."""
    return 0.5 * (hyper["beta_high"].log() - hyper["beta_low"].log())
