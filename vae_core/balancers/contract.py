"""What a balancer is: the rule that sets sigma^2 (noise variance) and k (KL weight) in training.

All balancers minimise one objective, in nats per image (x in [0, 1], D observed dimensions):

    L = -ln p(x|z) + k R,    by default    -ln p(x|z) = S / (2 sigma^2) + D/2 ln(2 pi sigma^2)

S is the squared error summed over pixels, R the KL divergence summed over latents, both averaged
over the batch. They differ in where sigma^2 and k come from, and some in the likelihood (a
variance for each image or pixel, a Laplace distribution) or in what k weighs in place of R.
``beta`` means k sigma^2, the weight in the equivalent loss S/2 + beta R.

A balancer is a pure rule over tensors whose leading axis K runs over the members of a bank: it
holds no module, no file and no generator, and never mixes members.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from vae_core.geometry import ImageShape
from vae_core.likelihoods import Likelihood
from vae_core.models.contract import Head

LN_2PI = math.log(2 * math.pi)

ALWAYS = ("squared_error", "kl")
"""The terms that are always measured."""

State = dict[str, Tensor]
Scalars = Mapping[str, Tensor]


@dataclass(frozen=True)
class Terms:
    """Measurements of a step, for K members and B images each; only declared terms are given."""

    squared_error: Tensor
    """S, [K, B]: squared error summed over pixels, per image."""
    kl: Tensor
    """R, [K, B, Z]: KL divergence from the prior per latent, nats."""
    absolute_error: Tensor | None = None
    """S1, [K, B]: absolute error summed over pixels, per image; if declared."""
    nll: Tensor | None = None
    """-ln p(x|z) under the decoder's own head, [K, B], nats per image; if declared."""
    log_sigma2: Tensor | None = None
    """ln sigma^2 the decoder's head predicts, [K, B], its mean over pixels; if declared."""
    x: Tensor | None = None
    """The images, [K, B, D]; if declared."""
    xhat: Tensor | None = None
    """The decoder's means, [K, B, D]; if declared."""
    mu: Tensor | None = None
    """Posterior means, [K, B, Z]; if declared."""
    logvar: Tensor | None = None
    """Posterior log variances, [K, B, Z]; if declared."""
    noise: Tensor | None = None
    """What z = mu + exp(logvar/2) noise was drawn with, [K, B, Z]: draws of the prior; if
    declared."""
    u: Tensor | None = None
    """What the gates of the model saw, [K, B]; if declared, and the balancer gates the model."""

    def given(self) -> dict[str, Tensor]:
        """The terms that were measured, by name."""
        return {name: term for name, term in vars(self).items() if term is not None}

    def map(self, change: Callable[[Tensor], Tensor]) -> Terms:
        """The terms with ``change`` applied to each tensor."""
        return Terms(**{name: change(term) for name, term in self.given().items()})

    def rows(self, members: Tensor) -> Terms:
        """The terms of some members, by index."""
        return self.map(lambda term: term.index_select(0, members))


@dataclass(frozen=True)
class Balance:
    """The trade-off a balancer sets."""

    log_sigma2: Tensor
    """ln of the noise's variance, [K], or [K, B] where every image has its own. Where the noise is
    not Gaussian or differs between pixels it is a summary: 2 b^2 of a Laplace scale b, the
    geometric mean over pixels."""
    k: Tensor
    """Weight of the KL divergence, [K]."""


@dataclass(frozen=True)
class Hyperparameter:
    """A number that a study sets or searches."""

    default: float | None
    """Value when none is given; None: the balancer derives it (:meth:`Balancer.derived`), or it is
    ``required``."""
    low: float
    """Exclusive lower bound."""
    high: float
    """Exclusive upper bound."""
    doc: str
    trade_off: bool = False
    """Whether it sets the trade-off between reconstruction and KL itself: beta, k, a target, the
    end of a schedule, a bound of sigma. An arm that searches it is hand-tuned."""
    required: bool = False
    """Whether a study must set or search it."""
    at_start: bool = False
    """Whether it acts before the first step only, as a start of the state does. That a
    :class:`Learned` is begun with it needs no saying."""


@dataclass(frozen=True)
class Learned:
    """A scalar trained by Adam beside the network's parameters, one a member."""

    init: str
    """Hyperparameter that gives its start, on the scale the scalar is learned on."""
    lr: str
    """Hyperparameter that gives its learning rate."""


class Balancer(ABC):
    """Base of all balancers. Subclasses declare, and implement :meth:`balance`; one whose
    likelihood is no Gaussian with a variance [K] implements :meth:`reconstruction` too, one that
    penalises something else than R :meth:`penalty`.

    One instance serves every member of its family in a bank, so it keeps only what the bank
    fixes: the image shape, the latent size, how many images there are to train on and in a batch.

    Attributes:
        shape: of an image.
        latent: Z.
        images: N, of the training split.
        epoch: steps of an epoch: whole batches of the training images.
    """

    name: ClassVar[str]
    hand_tuned: ClassVar[bool]
    """Whether a person chooses the trade-off; False: the rule finds it."""
    hyperparameters: ClassVar[Mapping[str, Hyperparameter]]
    terms: ClassVar[frozenset[str]] = frozenset({"squared_error", "kl"})
    """The :class:`Terms` it reads; those that may be None are computed only when named here."""
    learned: ClassVar[Mapping[str, Learned]] = {}
    head: ClassVar[Head | None] = None
    """The head a decoder needs for it (:mod:`vae_core.models.heads`)."""
    likelihood: ClassVar[Likelihood] = "gaussian"
    """The distribution p(x|z) it trains."""
    gated: ClassVar[bool] = False
    """Whether it trains a model that is gated by what it sets for each image
    (:mod:`vae_core.models.gated`): it then defines :meth:`drawn`, :meth:`u_of` and :meth:`betas`,
    and has no head."""

    def __init__(self, shape: ImageShape, latent: int, images: int, batch_size: int) -> None:
        self.shape, self.latent, self.images = shape, latent, images
        self.epoch = max(1, images // batch_size)

    def derived(self, steps: int) -> dict[str, float]:
        """Values of hyperparameters whose default is None, for a training of ``steps``, 1 or more.

        From image shape and latent size, or from ``steps``: so a rule is as fast for its training
        in a short one as in a long one.
        """
        return {}

    def complete(self, given: Mapping[str, float], steps: int) -> dict[str, float]:
        """Every hyperparameter's value: the one given, else its default, else the derived one."""
        derived = self.derived(steps)
        values = {
            name: given.get(name, derived.get(name) if spec.default is None else spec.default)
            for name, spec in self.hyperparameters.items()
        }
        return {name: float(value) for name, value in values.items() if value is not None}

    def misfit(self, values: Mapping[str, float]) -> tuple[str, str] | None:
        """Why values, as :meth:`complete` gives them, do not go together, and what to do about it.

        A launch refuses to begin an arm with a misfit at an end of what it searches.
        """
        return None

    def reached(self, values: Mapping[str, float], steps: int) -> float:
        """How much of what its schedule ends at holds at the last of ``steps`` steps, as a share.

        1: it has arrived, or there is no schedule; values are as :meth:`complete` gives them.
        """
        return 1.0

    def initial_state(self, hyper: Scalars) -> State:
        """State before the first step: tensors [K], whose names and types never change."""
        return {}

    def drawn(self, draws: Tensor, hyper: Scalars) -> Tensor:
        """The u that gates see in training, [K, B], of draws uniform on [0, 1), [K, B]."""
        raise NotImplementedError(f"{type(self).__name__} does not gate the model")

    def u_of(self, beta: Tensor, hyper: Scalars) -> Tensor:
        """The u that gates see where the trained model is to be that of ``beta``, both [K]."""
        raise NotImplementedError(f"{type(self).__name__} does not gate the model")

    def betas(self, values: Mapping[str, float]) -> list[float]:
        """The betas among which the trained model's is chosen, ascending, one at least.

        Only of a balancer that gates the model; ``values`` are as :meth:`complete` gives them.
        """
        raise NotImplementedError(f"{type(self).__name__} does not gate the model")

    @abstractmethod
    def balance(self, terms: Terms, state: State, learned: Scalars, hyper: Scalars) -> Balance:
        """sigma^2 and k for this step; differentiable where the rule is."""

    def reconstruction(self, terms: Terms, at: Balance) -> Tensor:
        """-ln p(x|z) of each member, [K], nats per image; ``at`` is what :meth:`balance` gave."""
        error, images = terms.squared_error.sum(dim=1), terms.squared_error.shape[1]
        return gaussian(error, at.log_sigma2, self.shape.dims, images)

    def penalty(self, terms: Terms, state: State, hyper: Scalars) -> Tensor:
        """What k weighs, [K], nats summed over the batch: R, or what a rule penalises instead."""
        return terms.kl.sum(dim=(1, 2))

    def loss(self, terms: Terms, state: State, learned: Scalars, hyper: Scalars) -> Tensor:
        """L of each member, [K], nats per image (module docstring)."""
        at = self.balance(terms, state, learned, hyper)
        penalty, images = self.penalty(terms, state, hyper), terms.kl.shape[1]
        return torch.addcmul(self.reconstruction(terms, at), at.k, penalty, value=1 / images)

    @property
    def usual(self) -> bool:
        """Whether its loss is that of this class, given its balance and its penalty."""
        kind = type(self)
        return kind.loss is Balancer.loss and kind.reconstruction is Balancer.reconstruction

    @property
    def penalises_rate(self) -> bool:
        """Whether k weighs R."""
        return type(self).penalty is Balancer.penalty

    def next_state(self, terms: Terms, state: State, learned: Scalars, hyper: Scalars) -> State:
        """State after the step; called without gradients."""
        return state


def gaussian(error: Tensor, log_sigma2: Tensor, dims: int, images: int) -> Tensor:
    """-ln N(x; xhat, sigma^2), nats per image, [K]; ``error`` is S summed over the images, [K]."""
    normaliser = 0.5 * dims * (log_sigma2 + LN_2PI)
    # Fused products: on small models the step is made of the overhead of such operations.
    return torch.addcmul(normaliser, error, torch.exp(-log_sigma2), value=0.5 / images)


def positive(
    default: float | None,
    doc: str,
    *,
    high: float = math.inf,
    trade_off: bool = False,
    required: bool = False,
) -> Hyperparameter:
    """A hyperparameter in (0, high)."""
    return Hyperparameter(default, 0.0, high, doc, trade_off, required)


def real(default: float, doc: str, *, trade_off: bool = False) -> Hyperparameter:
    """A hyperparameter that may be any number."""
    return Hyperparameter(default, -math.inf, math.inf, doc, trade_off)


BETA = positive(None, "weight of R in S/2 + beta R", trade_off=True, required=True)
KL_WEIGHT = positive(
    1.0, "k, the KL weight on top of the balance (1: the evidence bound itself)", trade_off=True
)
