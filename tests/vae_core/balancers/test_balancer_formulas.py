"""Each balancer against its formula, over fifty recorded steps, in plain Python floats.

The references share no code with the balancers: lists of floats, ``math``, and the formulas as
the papers print them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from statistics import fmean

import pytest
import torch
from torch import Tensor

from vae_core.balancers import BALANCERS, Terms
from vae_core.geometry import ImageShape

SHAPE = ImageShape(3, 4, 4)
D, LATENT, IMAGES, STEPS = SHAPE.dims, 5, 6, 50
LN_2PI = math.log(2 * math.pi)


@dataclass(frozen=True)
class Step:
    """What one step measured, by image, and the learned scalar's value at it."""

    S: list[float]
    R: list[float]
    S1: list[float]
    nll: list[float]
    log_sigma2: list[float]
    scalar: float

    def terms(self, optional: frozenset[str]) -> Terms:
        def member(values: list[float]) -> Tensor:
            return torch.tensor([values], dtype=torch.float64)

        # The rate lies on one latent or evenly on all of them: only its sum is to matter.
        kl = member(self.R).unsqueeze(2) / LATENT * torch.ones(LATENT, dtype=torch.float64)
        others = {"absolute_error": self.S1, "nll": self.nll, "log_sigma2": self.log_sigma2}
        return Terms(member(self.S), kl, **{n: member(others[n]) for n in optional & others.keys()})


@dataclass(frozen=True)
class Expected:
    sigma2: float
    """As reported: the geometric mean where there are many."""
    k: float
    loss: float
    state: dict[str, float]
    """After the step."""


def recording() -> list[Step]:
    """Errors that fall from a mean square of 1 to 0.002, noisily, with a jump up halfway."""
    generator = torch.Generator().manual_seed(5)

    def uniform(low: float, high: float) -> list[float]:
        drawn = torch.rand(IMAGES, generator=generator, dtype=torch.float64)
        return (low + (high - low) * drawn).tolist()

    steps = []
    for t in range(STEPS):
        level = 0.002 + math.exp(-0.2 * t) + (1.0 if 25 <= t < 30 else 0.0)
        S = [D * level * u for u in uniform(0.5, 1.5)]
        steps.append(
            Step(
                S=S,
                R=uniform(0.0, 20.0),
                S1=[math.sqrt(D * s) * u for s, u in zip(S, uniform(0.6, 0.9), strict=True)],
                nll=uniform(-100.0, 50.0),
                log_sigma2=uniform(-8.0, 1.0),
                scalar=1.0 - 0.1 * t,
            )
        )
    return steps


Reference = Callable[[list[Step]], Iterator[Expected]]
REFERENCES: dict[str, tuple[Reference, dict[str, float]]] = {}


def reference(name: str, **hyper: float) -> Callable[[Reference], Reference]:
    """Compare the function with balancer ``name`` under these hyperparameters."""

    def keep(function: Reference) -> Reference:
        REFERENCES[name] = function, hyper
        return function

    return keep


def gaussian(step: Step, sigma2: float, k: float) -> float:
    return fmean(step.S) / (2 * sigma2) + D / 2 * math.log(2 * math.pi * sigma2) + k * fmean(step.R)


@reference("fixed_beta", beta=0.3)
def fixed_beta(steps: list[Step]) -> Iterator[Expected]:
    for step in steps:
        loss = fmean(step.S) / 2 + 0.3 * fmean(step.R) + D / 2 * LN_2PI
        yield Expected(1.0, 0.3, loss, {})


@reference("learned_sigma", k=2.0, sigma_min=0.05)
def learned_sigma(steps: list[Step]) -> Iterator[Expected]:
    for step in steps:
        sigma = max(math.exp(step.scalar), 0.05)
        yield Expected(sigma**2, 2.0, gaussian(step, sigma**2, 2.0), {})


@reference("optimal_sigma", k=3.0, log_sigma_min=-3.0)
def optimal_sigma(steps: list[Step]) -> Iterator[Expected]:
    for step in steps:
        log_sigma = math.log(math.sqrt(fmean(step.S) / D))
        clipped = -3 + math.log1p(math.exp(log_sigma + 3))
        yield Expected(math.exp(2 * clipped), 3.0, gaussian(step, math.exp(2 * clipped), 3.0), {})


@reference("per_image_sigma", k=10.0, log_sigma_min=-3.0)
def per_image_sigma(steps: list[Step]) -> Iterator[Expected]:
    for step in steps:
        logs = [-3 + math.log1p(math.exp(math.log(math.sqrt(S / D)) + 3)) for S in step.S]
        nll = fmean(
            S / (2 * math.exp(2 * log)) + D * (log + LN_2PI / 2)
            for S, log in zip(step.S, logs, strict=True)
        )
        yield Expected(math.exp(2 * fmean(logs)), 10.0, nll + 10 * fmean(step.R), {})


@reference("running_average", k=1.5, decay=0.9)
def running_average(steps: list[Step]) -> Iterator[Expected]:
    mse = 1.0
    for step in steps:
        used, mse = mse, 0.9 * mse + 0.1 * fmean(step.S) / D
        yield Expected(used, 1.5, gaussian(step, used, 1.5), {"mse": mse})


@reference("asperti_trentin", decay=0.9)
def asperti_trentin(steps: list[Step]) -> Iterator[Expected]:
    mse, k = 1.0, (2 * 4 / LATENT) ** 2
    for step in steps:
        gamma = math.sqrt(mse)  # the released code divides errors by it
        loss = fmean(step.S) / gamma**2 / 2 + D * (math.log(gamma) + 0.91893853320467)
        used, mse = mse, min(mse, 0.9 * mse + 0.1 * fmean(step.S) / D)
        yield Expected(used, k, loss + k * fmean(step.R), {"mse": mse})


@reference("running_minimum", k=8.0, decay=0.9)
def running_minimum(steps: list[Step]) -> Iterator[Expected]:
    mse = gamma = 1.0
    for step in steps:
        used, mse = gamma, 0.9 * mse + 0.1 * fmean(step.S) / D
        gamma = min(mse, gamma)
        yield Expected(used, 8.0, gaussian(step, used, 8.0), {"mse": mse, "lowest": gamma})


@reference("laplace_scale", k=2.0)
def laplace_scale(steps: list[Step]) -> Iterator[Expected]:
    for step in steps:
        b = max(abs(step.scalar), fmean(step.S1) / D)
        loss = fmean(step.S1) / b + D * math.log(2 * b) + 2 * fmean(step.R)
        yield Expected(2 * b * b, 2.0, loss, {})


@reference("predicted_image_sigma", k=0.5)
@reference("predicted_pixel_sigma", k=0.5)
def predicted_sigma(steps: list[Step]) -> Iterator[Expected]:
    for step in steps:
        geometric = math.exp(fmean(step.log_sigma2))
        yield Expected(geometric, 0.5, fmean(step.nll) + 0.5 * fmean(step.R), {})


@pytest.mark.parametrize("name", BALANCERS.names())
def test_a_recorded_sequence_gives_the_formulas_numbers(name: str) -> None:
    assert name in REFERENCES, f"write the formula of {name} here, as its paper prints it"
    function, given = REFERENCES[name]
    balancer = BALANCERS.get(name)(SHAPE, LATENT)
    values = balancer.complete(given, STEPS)
    hyper = {n: torch.tensor([v], dtype=torch.float64) for n, v in values.items()}
    state = balancer.initial_state(hyper)
    steps = recording()
    betas = []
    for step, expected in zip(steps, function(steps), strict=True):
        terms = step.terms(balancer.terms)
        learned = {n: torch.tensor([step.scalar], dtype=torch.float64) for n in balancer.learned}
        at = balancer.balance(terms, state, learned, hyper)
        assert float(at.log_sigma2.mean().exp()) == pytest.approx(expected.sigma2, rel=1e-9)
        assert float(at.k) == pytest.approx(expected.k, rel=1e-12)
        loss = balancer.loss(terms, state, learned, hyper)
        assert float(loss) == pytest.approx(expected.loss, rel=1e-9, abs=1e-9)
        state = balancer.next_state(terms, state, learned, hyper)
        assert {n: float(v) for n, v in state.items()} == pytest.approx(expected.state, rel=1e-9)
        betas.append(expected.k * expected.sigma2)
    if not balancer.hand_tuned:
        assert max(betas) > 5 * min(betas)  # the recording exercises the rule


def test_the_recording_reaches_both_sides_of_every_bound() -> None:
    steps = recording()
    assert {math.exp(s.scalar) > 0.05 for s in steps} == {True, False}
    assert {abs(s.scalar) > fmean(s.S1) / D for s in steps} == {True, False}
    assert {math.sqrt(fmean(s.S) / D) > math.exp(-3) for s in steps} == {True, False}
    averages = [e.state["mse"] for e in running_average(steps)]
    assert averages != sorted(averages, reverse=True)  # it rises, so the minima have work to do


def gradient(name: str, term: str, found: Terms, **given: float) -> Tensor:
    """Of the loss, in one of the terms, [K, B]."""
    balancer = BALANCERS.get(name)(SHAPE, LATENT)
    hyper = {n: torch.tensor([v]).double() for n, v in balancer.complete(given, STEPS).items()}
    learned = {n: hyper[s.init] for n, s in balancer.learned.items()}
    leaf = found.given()[term].clone().requires_grad_()
    loss = balancer.loss(replace(found, **{term: leaf}), {}, learned, hyper)
    (result,) = torch.autograd.grad(loss.sum(), leaf)
    return result


def test_per_image_sigma_has_the_gradient_of_constant_variances_at_each_images_mse() -> None:
    """The envelope theorem, image by image, where the clip does not bite."""
    found = recording()[7].terms(frozenset())
    got = gradient("per_image_sigma", "squared_error", found, log_sigma_min=-60.0)
    torch.testing.assert_close(got, 1 / (2 * found.squared_error / D) / IMAGES)


def test_the_laplace_scale_has_the_gradient_of_a_constant_scale_at_the_mean_error() -> None:
    """The envelope theorem once the lower bound has bitten."""
    found = recording()[7].terms(frozenset({"absolute_error"}))
    assert found.absolute_error is not None
    scale = found.absolute_error.mean() / D
    got = gradient("laplace_scale", "absolute_error", found, scale_init=1e-6)
    torch.testing.assert_close(got, torch.full_like(got, float(1 / scale / IMAGES)))


def test_the_laplace_scale_learns_its_scale_until_the_bound_bites() -> None:
    """dL/db = D/b - S1/b^2 above the bound, and none below."""
    balancer = BALANCERS.get("laplace_scale")(SHAPE, LATENT)
    hyper = {n: torch.tensor([v]).double() for n, v in balancer.complete({}, STEPS).items()}
    found = recording()[20].terms(frozenset({"absolute_error"}))
    assert found.absolute_error is not None
    S1 = float(found.absolute_error.mean())
    for scale, slope in ((-0.5, -(D / 0.5 - S1 / 0.25)), (0.001, 0.0)):
        leaf = torch.tensor([scale], dtype=torch.float64, requires_grad=True)
        loss = balancer.loss(found, {}, {"scale": leaf}, hyper)
        (got,) = torch.autograd.grad(loss.sum(), leaf)
        assert float(got) == pytest.approx(slope)


BIAS = {
    "asperti_trentin": {0.02: 0.945, 0.05: 0.863, 0.10: 0.726, 0.20: 0.471},
    "running_minimum": {0.02: 0.995, 0.05: 0.988, 0.10: 0.977, 0.20: 0.950},
}
"""sigma^2 / MSE after 35,000 steps, by the batches' coefficient of variation."""


def biased(name: str, repetitions: int) -> Tensor:
    """sigma^2 after 35,000 steps over normal batch errors of mean 1, [noises, repetitions]."""
    noises = torch.tensor(list(BIAS[name]))
    balancer = BALANCERS.get(name)(ImageShape(1, 1, 1), 1)
    members = repetitions * len(noises)
    values = balancer.complete({"decay": 0.99}, steps=35_000)
    hyper = {n: torch.full((members,), v) for n, v in values.items()}
    spread = noises.repeat_interleave(repetitions).unsqueeze(1)
    generator = torch.Generator().manual_seed(1)
    kl, mse = torch.zeros(members, 1, 1), torch.empty(members, 1)
    state = balancer.initial_state(hyper)
    for _ in range(35_000):
        mse.normal_(generator=generator).mul_(spread).add_(1)
        state = balancer.next_state(Terms(mse, kl), state, {}, hyper)
    at = balancer.balance(Terms(mse, kl), state, {}, hyper)
    return at.log_sigma2.exp().view(len(noises), repetitions)


def drift(noise: float) -> float:
    """The released rule's sigma^2 in theory: dm/dt = -0.01 E[max(0, m - b)], b ~ N(1, noise^2)."""
    m = 1.0
    for _ in range(35_000):
        u = (m - 1) / noise
        density = math.exp(-u * u / 2) / math.sqrt(2 * math.pi)
        m -= 0.01 * noise * (density + u * 0.5 * math.erfc(-u / math.sqrt(2)))
    return m


def test_the_minimum_biases_sigma_as_tabled_and_as_theory_says() -> None:
    """Batch errors drawn independently about one mean: the best sigma^2 never changes, and the
    rules' fall below it.

    The table holds one run a cell, to three digits: it may lie 3 standard deviations of a run
    and half a digit from the mean. Theory gives the mean itself: 4 standard errors over the 256
    repetitions, and half a digit for a step of finite size.
    """
    repetitions = 256
    found = {name: biased(name, repetitions) for name in BIAS}
    for name, cells in BIAS.items():
        for runs, tabled in zip(found[name], cells.values(), strict=True):
            assert abs(float(runs.mean()) - tabled) < 3 * float(runs.std()) + 0.0005
    for runs, noise in zip(found["asperti_trentin"], BIAS["asperti_trentin"], strict=True):
        error = float(runs.std()) / math.sqrt(repetitions)
        assert float(runs.mean()) == pytest.approx(drift(noise), abs=4 * error + 0.0005)
    # The average is linear in the errors, so the bias of its minimum is proportional to the noise.
    bias = (1 - found["running_minimum"].mean(dim=1)) / torch.tensor(list(BIAS["running_minimum"]))
    torch.testing.assert_close(bias, bias.mean().expand(4), rtol=0.03, atol=0)
