"""Each balancer against its own formula, computed step by step with plain floats."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vae_core.balancers import BALANCERS, Balancer, Terms, check_hyperparameters
from vae_core.balancers.suite import check_balancer
from vae_core.errors import ContractError
from vae_core.geometry import ImageShape

SHAPE = ImageShape(3, 4, 4)
D, LATENT, IMAGES = SHAPE.dims, 5, 6
BUILT_IN = ["asperti_trentin", "fixed_beta", "learned_sigma", "optimal_sigma", "running_average"]


def terms(seed: int, scale: float = 1.0) -> Terms:
    generator = torch.Generator().manual_seed(seed)
    error = scale * (0.1 + torch.rand(1, IMAGES, generator=generator, dtype=torch.float64))
    return Terms(error, torch.rand(1, IMAGES, LATENT, generator=generator, dtype=torch.float64))


def build(name: str, given: dict[str, float]) -> tuple[Balancer, dict[str, Tensor]]:
    balancer = BALANCERS.get(name)(SHAPE, LATENT)
    values = balancer.complete(given)
    return balancer, {k: torch.tensor([v], dtype=torch.float64) for k, v in values.items()}


def gaussian(S: float, R: float, sigma2: float, k: float) -> float:
    return S / (2 * sigma2) + D / 2 * math.log(2 * math.pi * sigma2) + k * R


def means(found: Terms) -> tuple[float, float]:
    return float(found.squared_error.mean()), float(found.kl.sum(2).mean())


def test_the_built_in_families_are_registered() -> None:
    assert BALANCERS.names() == BUILT_IN


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_family_keeps_the_contract(name: str) -> None:
    check_balancer(BALANCERS.get(name))


def test_fixed_beta_weighs_half_the_squared_error_against_the_rate() -> None:
    balancer, hyper = build("fixed_beta", {"beta": 0.3})
    S, R = means(terms(0))
    constant = D / 2 * math.log(2 * math.pi)
    loss = float(balancer.loss(terms(0), {}, {}, hyper))
    assert loss - constant == pytest.approx(S / 2 + 0.3 * R)


def test_learned_sigma_is_the_negative_bound_and_its_slope_vanishes_at_the_mse() -> None:
    balancer, hyper = build("learned_sigma", {})
    S, R = means(terms(1))
    log_sigma = torch.tensor([0.5 * math.log(S / D)], dtype=torch.float64, requires_grad=True)
    loss = balancer.loss(terms(1), {}, {"log_sigma": log_sigma}, hyper)
    assert float(loss.detach()) == pytest.approx(gaussian(S, R, S / D, 1.0))
    (slope,) = torch.autograd.grad(loss.sum(), log_sigma)
    assert float(slope) == pytest.approx(0.0, abs=1e-9)


def test_learned_sigma_stays_above_its_lower_bound() -> None:
    balancer, hyper = build("learned_sigma", {"sigma_min": 0.2})
    low = {"log_sigma": torch.tensor([-9.0], dtype=torch.float64)}
    at = balancer.balance(terms(1), {}, low, hyper)
    assert float(at.log_sigma2) == pytest.approx(2 * math.log(0.2))


def test_optimal_sigma_is_the_batch_mse_softly_clipped() -> None:
    balancer, hyper = build("optimal_sigma", {})
    S, _ = means(terms(2))
    unclipped = 0.5 * math.log(S / D)
    expected = -6 + math.log1p(math.exp(unclipped + 6))
    assert float(balancer.balance(terms(2), {}, {}, hyper).log_sigma2) == pytest.approx(
        2 * expected
    )


def test_optimal_sigma_has_the_gradient_of_a_constant_sigma_at_the_mse() -> None:
    """The envelope theorem: passing gradients through the optimum changes nothing there."""
    balancer, hyper = build("optimal_sigma", {"log_sigma_min": -60.0})
    found = terms(3)
    S, _ = means(found)
    error = found.squared_error.clone().requires_grad_()
    loss = balancer.loss(Terms(error, found.kl), {}, {}, hyper)
    (gradient,) = torch.autograd.grad(loss.sum(), error)
    constant = 1 / (2 * (S / D)) / IMAGES
    torch.testing.assert_close(gradient, torch.full_like(gradient, constant))


def recorded_mse(name: str, steps: int) -> tuple[list[float], list[float]]:
    """sigma^2 the balancer used at each step, and the batches' MSE, over noisy falling errors."""
    balancer, hyper = build(name, {"decay": 0.9})
    state = balancer.initial_state(hyper)
    used, batches = [], []
    for step in range(steps):
        found = terms(100 + step, scale=1 + 5 * (step % 4 == 3))
        used.append(math.exp(float(balancer.balance(found, state, {}, hyper).log_sigma2)))
        batches.append(means(found)[0] / D)
        state = balancer.next_state(found, state, {}, hyper)
    return used, batches


def test_running_average_is_an_exponential_moving_average_from_one() -> None:
    used, batches = recorded_mse("running_average", 30)
    average = 1.0
    for sigma2, mse in zip(used, batches, strict=True):
        assert sigma2 == pytest.approx(average)
        average = 0.9 * average + 0.1 * mse


def test_the_released_rule_never_rises() -> None:
    used, batches = recorded_mse("asperti_trentin", 60)
    lowest = 1.0
    for sigma2, mse in zip(used, batches, strict=True):
        assert sigma2 == pytest.approx(lowest)
        lowest = min(lowest, 0.9 * lowest + 0.1 * mse)
    free, _ = recorded_mse("running_average", 60)
    assert used[-1] < free[-1]


@pytest.mark.parametrize(("side", "latent", "k"), [(32, 64, 1.0), (64, 64, 4.0), (28, 16, 12.25)])
def test_the_released_rule_weighs_the_kl_by_image_side_and_latent_size(
    side: int, latent: int, k: float
) -> None:
    balancer = BALANCERS.get("asperti_trentin")(ImageShape(3, side, side), latent)
    assert balancer.complete({})["k"] == k
    assert balancer.complete({"k": 2.0})["k"] == 2.0


@pytest.mark.parametrize("name", [n for n in BUILT_IN if n != "fixed_beta"])
def test_beta_is_k_times_sigma_squared_on_top_of_an_automatic_balance(name: str) -> None:
    balancer, hyper = build(name, {"k": 3.0})
    learned = {n: hyper[s.init] for n, s in balancer.learned.items()}
    at = balancer.balance(terms(4), balancer.initial_state(hyper), learned, hyper)
    assert float(at.k) == 3.0


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(BUILT_IN),
    scale=st.floats(1e-3, 1e3),
    seeds=st.lists(st.integers(0, 10_000), min_size=1, max_size=8),
)
def test_sigma_stays_finite_and_positive(name: str, scale: float, seeds: list[int]) -> None:
    balancer, hyper = build(name, {"beta": scale} if name == "fixed_beta" else {})
    state = balancer.initial_state(hyper)
    learned = {n: hyper[s.init] for n, s in balancer.learned.items()}
    for seed in seeds:
        found = terms(seed, scale)
        at = balancer.balance(found, state, learned, hyper)
        assert math.isfinite(float(at.log_sigma2))
        assert math.isfinite(float(balancer.loss(found, state, learned, hyper)))
        state = balancer.next_state(found, state, learned, hyper)


def test_a_hyperparameter_is_held_to_its_name_and_bounds() -> None:
    family = BALANCERS.get("fixed_beta")
    with pytest.raises(ContractError, match="has no hyperparameter 'bta'") as caught:
        check_hyperparameters(family, {"bta": 1.0})
    assert "did you mean 'beta'" in str(caught.value)
    with pytest.raises(ContractError, match=r"beta = 0\.0"):
        check_hyperparameters(family, {"beta": 0.0})


class _Mixes(BALANCERS.get("running_average")):  # type: ignore[misc]
    """Averages over members: the fault the contract exists for."""

    name = "mixes"

    def average(self, terms, state, hyper):  # type: ignore[no-untyped-def]
        return super().average(terms, state, hyper).mean().expand_as(hyper["decay"]).clone()


class _Impure(BALANCERS.get("fixed_beta")):  # type: ignore[misc]
    name = "impure"

    def loss(self, terms, state, learned, hyper):  # type: ignore[no-untyped-def]
        return super().loss(terms, state, learned, hyper) + torch.rand(())


class _Shapeless(BALANCERS.get("fixed_beta")):  # type: ignore[misc]
    name = "shapeless"

    def loss(self, terms, state, learned, hyper):  # type: ignore[no-untyped-def]
        return super().loss(terms, state, learned, hyper).sum()


class _Grows(BALANCERS.get("running_average")):  # type: ignore[misc]
    name = "grows"

    def next_state(self, terms, state, learned, hyper):  # type: ignore[no-untyped-def]
        return {**super().next_state(terms, state, learned, hyper), "more": hyper["decay"]}


@pytest.mark.parametrize(
    ("family", "clause"),
    [
        (_Mixes, "alone than among others|order of the members|NaN reach"),
        (_Impure, "not a pure rule"),
        (_Shapeless, "shape"),
        (_Grows, "names, shapes or types of its state"),
    ],
)
def test_the_suite_names_the_clause_that_is_broken(family: type[Balancer], clause: str) -> None:
    with pytest.raises(ContractError, match=clause):
        check_balancer(family)


def test_a_balancer_of_ones_own_is_found_by_import_path_and_checked() -> None:
    assert BALANCERS.get("vae_core.balancers:FixedBeta").name == "fixed_beta"
    with pytest.raises(ContractError, match="give a subclass"):
        BALANCERS.get("math:sqrt")
