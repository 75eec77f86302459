"""The contract suite every balancer passes, a user's own included.

``check_balancer(MyBalancer)`` raises :class:`ContractError` naming the clause that is broken. A
study runs it at launch on every balancer given by import path or entry point.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import get_args

import torch
from torch import Tensor

from vae_core.balancers.contract import Balancer, State, Terms
from vae_core.errors import ContractError
from vae_core.geometry import ImageShape
from vae_core.likelihoods import Likelihood
from vae_core.models.contract import Head
from vae_core.randomness import derive

SHAPE = ImageShape(1, 8, 8)
LATENT, MEMBERS, IMAGES = 4, 3, 16
SETTING = SHAPE, LATENT, 40 * IMAGES, IMAGES
"""What the bank fixes: an epoch of 40 steps."""
LIKELIHOODS = get_args(Likelihood)
STEPS = (1, 500, 1_000_000)
"""Of trainings that a balancer derives hyperparameters for: its step is checked for the second."""


@dataclass(frozen=True)
class _Case:
    """A balancer with the inputs of one step."""

    balancer: Balancer
    terms: Terms
    state: State
    learned: dict[str, Tensor]
    hyper: dict[str, Tensor]

    def rows(self, order: list[int]) -> _Case:
        def pick(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {name: value[order].clone() for name, value in values.items()}

        terms = self.terms.map(lambda term: term[order].clone())
        return _Case(self.balancer, terms, pick(self.state), pick(self.learned), pick(self.hyper))

    def with_nan(self, row: int) -> _Case:
        spoilt = self.rows(list(range(len(self.terms.kl))))
        spoilt.terms.map(lambda term: term[row].fill_(math.nan))
        return spoilt

    def loss(self) -> Tensor:
        return self.balancer.loss(self.terms, self.state, self.learned, self.hyper)

    def balance(self) -> tuple[Tensor, Tensor]:
        at = self.balancer.balance(self.terms, self.state, self.learned, self.hyper)
        return at.log_sigma2, at.k

    def next_state(self) -> State:
        with torch.no_grad():
            return self.balancer.next_state(self.terms, self.state, self.learned, self.hyper)

    def outputs(self) -> dict[str, Tensor]:
        """Every output of a step, gradients included, by name."""
        terms = self.terms.map(lambda term: term.clone().requires_grad_())
        learned = {name: value.clone().requires_grad_() for name, value in self.learned.items()}
        leaves = {**terms.given(), **{f"learned {name}": leaf for name, leaf in learned.items()}}
        loss = self.balancer.loss(terms, self.state, learned, self.hyper)
        gradients = torch.autograd.grad(loss.sum(), list(leaves.values()), allow_unused=True)
        log_sigma2, k = self.balance()
        found = {"loss": loss.detach(), "log_sigma2": log_sigma2.detach(), "k": k.detach()}
        for (name, leaf), gradient in zip(leaves.items(), gradients, strict=True):
            found[f"gradient of {name}"] = torch.zeros_like(leaf) if gradient is None else gradient
        return {**found, **{f"next {n}": v for n, v in self.next_state().items()}}


def example_hyperparameters(balancer: Balancer, member: int) -> dict[str, float]:
    """Legal values: the defaults, and for what has none a value inside its bounds."""
    values = balancer.complete({}, STEPS[1])
    for name, spec in balancer.hyperparameters.items():
        low = max(spec.low, -1.0)
        values.setdefault(name, low + min(spec.high - low, 1.0) * (0.3 + 0.1 * member))
    return values


def _case(family: type[Balancer]) -> _Case:
    balancer = family(*SETTING)
    generator = torch.Generator().manual_seed(derive(0, "balancer contract"))
    members = [example_hyperparameters(balancer, m) for m in range(MEMBERS)]
    hyper = {name: torch.tensor([m[name] for m in members]) for name in members[0]}
    error = 2 + 3 * torch.rand(MEMBERS, IMAGES, generator=generator)
    kl = 2 * torch.rand(MEMBERS, IMAGES, LATENT, generator=generator)
    optional = {
        "absolute_error": 3 * error,
        "nll": 10 * torch.randn(MEMBERS, IMAGES, generator=generator),
        "log_sigma2": torch.randn(MEMBERS, IMAGES, generator=generator),
        "x": torch.rand(MEMBERS, IMAGES, SHAPE.dims, generator=generator),
        "xhat": torch.rand(MEMBERS, IMAGES, SHAPE.dims, generator=generator),
        "mu": torch.randn(MEMBERS, IMAGES, LATENT, generator=generator),
        "logvar": torch.randn(MEMBERS, IMAGES, LATENT, generator=generator),
        "noise": torch.randn(MEMBERS, IMAGES, LATENT, generator=generator),
        "u": torch.randn(MEMBERS, IMAGES, generator=generator),
    }
    terms = Terms(error, kl, **{n: v for n, v in optional.items() if n in family.terms})
    learned = {name: hyper[spec.init].clone() for name, spec in family.learned.items()}
    return _Case(balancer, terms, balancer.initial_state(hyper), learned, hyper)


def check_balancer(family: type[Balancer]) -> None:
    """Check ``family`` against the contract.

    Raises:
        ContractError: names the balancer and the clause it breaks.
    """

    def fail(
        clause: str, remedy: str = "see vae_core/balancers/contract.py for the contract"
    ) -> None:
        name = getattr(family, "name", family.__name__)
        raise ContractError(f"balancer '{name}' {clause}", remedy=remedy)

    for attribute in ("name", "hyperparameters"):
        if not hasattr(family, attribute):
            fail(f"declares no {attribute}")
    if not isinstance(getattr(family, "hand_tuned", None), bool):
        fail(
            "does not declare whether it is hand_tuned",
            "set hand_tuned = True where a person chooses the trade-off between reconstruction "
            "and KL, hand_tuned = False where the rule finds it",
        )
    for scalar, spec in family.learned.items():
        if not {spec.init, spec.lr} <= set(family.hyperparameters):
            fail(f"takes the start or rate of '{scalar}' from undeclared hyperparameters")
    if unknown := sorted(family.terms - {term.name for term in fields(Terms)}):
        fail(f"declares terms that are not measured: {', '.join(unknown)}")
    if family.head not in (None, *get_args(Head)):
        fail(f"declares head {family.head!r}, which is none of {', '.join(get_args(Head))}")
    if family.head is None and (needing := sorted(family.terms & {"nll", "log_sigma2"})):
        fail(f"declares {', '.join(needing)} without a head")
    if family.gated and family.head is not None:
        fail("gates a model that has a head")
    if not family.gated and "u" in family.terms:
        fail("declares u without gating the model", "set gated = True")
    if family.likelihood not in LIKELIHOODS:
        fail(f"declares likelihood {family.likelihood!r}, none of {', '.join(LIKELIHOODS)}")
    try:
        _check_derived(family(*SETTING), fail)
        _check_steps(_case(family), fail)
        if family.gated:
            _check_gated(_case(family), fail)
    except ContractError:
        raise
    except Exception as error:
        fail(f"raises {type(error).__name__} in a plain step: {error}")


def _check_derived(balancer: Balancer, fail: Callable[[str], None]) -> None:
    for steps in STEPS:
        for name, value in balancer.complete({}, steps).items():
            spec = balancer.hyperparameters[name]
            if not spec.low < value < spec.high:
                fail(f"derives {name} = {value:g}, out of bounds, for a training of {steps} steps")


def _check_steps(case: _Case, fail: Callable[[str], None]) -> None:
    everyone = list(range(MEMBERS))
    before = case.rows(everyone)
    first = case.outputs()
    for name in ("loss", "log_sigma2", "k"):
        by_image = [(MEMBERS, IMAGES)] if name == "log_sigma2" else []
        if first[name].shape not in [(MEMBERS,), *by_image]:
            fail(f"returns {name} of shape {tuple(first[name].shape)}, not [K] = ({MEMBERS},)")
    if not all(torch.isfinite(value).all() for value in first.values()):
        fail("returns numbers that are not finite for plain terms")
    if not (first["k"] >= 0).all():
        fail("returns a KL weight that is negative")
    state = case.next_state()
    described = {n: (v.shape, v.dtype) for n, v in state.items()}
    if described != {n: (v.shape, v.dtype) for n, v in case.state.items()}:
        fail("changes the names, shapes or types of its state")
    if any(value.requires_grad for value in state.values()):
        fail("keeps gradients in its state")
    if not _same(before.outputs(), case.outputs()) or not _same(first, case.outputs()):
        fail("is not a pure rule: the same inputs gave other numbers, or inputs were changed")
    permuted = case.rows(everyone[::-1]).outputs()
    if not _same({n: v.flip(0) for n, v in permuted.items()}, first):
        fail("depends on the order of the members")
    for row in everyone:
        alone = case.rows([row]).outputs()
        if not all(torch.allclose(alone[n], first[n][row : row + 1]) for n in first):
            fail("gives a member other numbers alone than among others")
        others = [r for r in everyone if r != row]
        spoilt = case.with_nan(row).outputs()
        if not _same(
            {n: v[others] for n, v in spoilt.items()}, {n: v[others] for n, v in first.items()}
        ):
            fail("lets one member's NaN reach another")


def _check_gated(case: _Case, fail: Callable[[str], None]) -> None:
    draws = torch.rand(MEMBERS, IMAGES, generator=torch.Generator().manual_seed(0))
    u = case.balancer.drawn(draws, case.hyper)
    if u.shape != draws.shape or not u.isfinite().all():
        fail(f"draws u of shape {tuple(u.shape)}, or not finite, not [K, B]")
    for row in range(MEMBERS):
        one = {name: value[row : row + 1] for name, value in case.hyper.items()}
        if not torch.equal(case.balancer.drawn(draws[row : row + 1], one), u[row : row + 1]):
            fail("draws another u for a member alone than among others")
        betas = case.balancer.betas({name: float(value) for name, value in one.items()})
        if not betas or betas != sorted(betas) or betas[0] <= 0:
            fail(f"offers betas {betas}, not one or more above 0, ascending")
        if not case.balancer.u_of(torch.tensor(betas[:1]), one).isfinite().all():
            fail("places a beta that it offers at a u that is not finite")


def _same(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
