"""What the balancers promise: single facts, properties over all of them, and the suite's clauses.

:mod:`test_balancer_formulas` holds each to its formula over a recorded sequence.
"""

from __future__ import annotations

import importlib
import inspect
import math
import pkgutil
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import digamma, gammaln
from torch import Tensor

import vae_core.balancers
from vae_core.balancers import BALANCERS, Balancer, State, Terms, check_hyperparameters
from vae_core.balancers.suite import check_balancer, example_hyperparameters
from vae_core.errors import ContractError
from vae_core.geometry import ImageShape

SHAPE = ImageShape(3, 4, 4)
D, LATENT, IMAGES, STEPS = SHAPE.dims, 5, 6, 500
SETTING = SHAPE, LATENT, 20 * IMAGES, IMAGES
BUILT_IN = [name for name in BALANCERS.names() if BALANCERS.built_in(name)]
GUIDE = Path(__file__).parents[3] / "docs" / "studies.md"


def taking(hyperparameter: str) -> list[str]:
    """The built-in families that have it."""
    return [name for name in BUILT_IN if hyperparameter in BALANCERS.get(name).hyperparameters]


def terms(seed: int, scale: float = 1.0, members: int = 1, wanted: Collection[str] = ()) -> Terms:
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(members, IMAGES, *shape, generator=generator, dtype=torch.float64)

    error, kl = scale * (0.1 + uniform()), uniform(LATENT)
    optional = {
        "absolute_error": scale * (0.1 + uniform()),
        "nll": 100 * scale * (uniform() - 0.5),
        "log_sigma2": math.log(scale) + uniform(),
        "x": uniform(D),
        "xhat": uniform(D),
        "mu": uniform(LATENT),
        "logvar": uniform(LATENT),
        "noise": uniform(LATENT),
        "u": math.sqrt(3) * (2 * uniform() - 1),
    }
    return Terms(error, kl, **{name: optional[name] for name in optional if name in wanted})


def build(name: str, given: dict[str, float]) -> tuple[Balancer, dict[str, Tensor]]:
    balancer = BALANCERS.get(name)(*SETTING)
    values = balancer.complete(given, STEPS)
    return balancer, {k: torch.tensor([v], dtype=torch.float64) for k, v in values.items()}


def gaussian(S: float, R: float, sigma2: float, k: float) -> float:
    return S / (2 * sigma2) + D / 2 * math.log(2 * math.pi * sigma2) + k * R


def means(found: Terms) -> tuple[float, float]:
    return float(found.squared_error.mean()), float(found.kl.sum(2).mean())


def test_every_family_of_the_package_is_registered_under_its_name() -> None:
    package = vae_core.balancers
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)

    def families(kind: type[Balancer]) -> set[type[Balancer]]:
        return {kind, *(found for child in kind.__subclasses__() for found in families(child))}

    own = {
        f.name: f
        for f in families(Balancer)
        if f.__module__.startswith("vae_core") and not inspect.isabstract(f)
    }
    assert own == {name: BALANCERS.get(name) for name in BUILT_IN}


def test_a_family_is_found_by_its_class_s_name_too() -> None:
    for name in BUILT_IN:
        family = BALANCERS.get(name)
        assert getattr(vae_core.balancers, family.__name__) is family
    assert not hasattr(vae_core.balancers, "Nothing")


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_guide_has_a_row_for_every_family(name: str) -> None:
    """Whether its content is true is checked beside the other documents."""
    table = GUIDE.read_text().partition("**Balancers**")[2].strip().partition("\n\n")[0]
    rows = [line for line in table.splitlines() if f"`{name}`" in line.split("|")[1]]
    assert rows, f"the table of balancers in docs/studies.md has no row for {name}"
    required = set(re.findall(r"`(\w+)` \(required\)", rows[0]))
    declared = BALANCERS.get(name).hyperparameters
    assert required == {key for key, spec in declared.items() if spec.required}, name


@pytest.mark.parametrize("name", BUILT_IN)
def test_hyperparameters_declare_defaults_and_what_is_required(name: str) -> None:
    family = BALANCERS.get(name)
    complete = family(*SETTING).complete({}, STEPS)
    for key, spec in family.hyperparameters.items():
        assert spec.doc
        assert spec.required is (key not in complete), key


LENGTHS = (500, 5_000)
"""Steps of trainings in which a derived rate is to be the same share of the way along."""


@pytest.mark.parametrize("steps", LENGTHS)
def test_a_running_average_forgets_its_start_in_the_same_share_of_any_training(steps: int) -> None:
    """From 1 to a constant error m it is at m + (1 - m) e^(-100 t) after a share t."""
    balancer = BALANCERS.get("running_average")(*SETTING)
    hyper = {n: torch.tensor([v]).double() for n, v in balancer.complete({}, steps).items()}
    error = torch.full((1, IMAGES), 0.01 * D, dtype=torch.float64)
    found, state = Terms(error, error.unsqueeze(2)), balancer.initial_state(hyper)
    for _ in range(steps // 20):
        state = balancer.next_state(found, state, {}, hyper)
    assert float(state["mse"]) == pytest.approx(0.01 + 0.99 * math.exp(-5), rel=1e-5)


@pytest.mark.parametrize("steps", LENGTHS)
def test_a_learned_sigma_arrives_in_the_same_share_of_any_training(steps: int) -> None:
    """At ln sigma = -3, by Adam: half way after a twentieth, there after a fifth, and it rests."""
    balancer = BALANCERS.get("learned_sigma")(*SETTING)
    hyper = {n: torch.tensor([v]).double() for n, v in balancer.complete({}, steps).items()}
    error = torch.full((1, IMAGES), math.exp(-6) * D, dtype=torch.float64)
    found, log_sigma = Terms(error, error.unsqueeze(2)), torch.zeros(1, dtype=torch.float64)
    adam = torch.optim.Adam([log_sigma.requires_grad_()], lr=float(hyper["sigma_lr"]))
    path = []
    for _ in range(steps):
        (log_sigma.grad,) = torch.autograd.grad(
            balancer.loss(found, {}, {"log_sigma": log_sigma}, hyper).sum(), log_sigma
        )
        adam.step()
        path.append(float(log_sigma.detach()))
    assert path[steps // 20 - 1] == pytest.approx(-1.5, abs=0.2)
    assert max(abs(at + 3) for at in path[steps // 5 :]) < 0.1


@pytest.mark.parametrize("steps", LENGTHS)
def test_the_rule_as_released_keeps_its_constant_and_what_is_given_holds(steps: int) -> None:
    released = BALANCERS.get("asperti_trentin")(*SETTING)
    assert released.complete({}, steps)["decay"] == 0.99
    for name, rate in (("running_minimum", "decay"), ("learned_sigma", "sigma_lr")):
        balancer = BALANCERS.get(name)(*SETTING)
        assert balancer.complete({rate: 0.5}, steps)[rate] == 0.5


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_family_keeps_the_contract(name: str) -> None:
    check_balancer(BALANCERS.get(name))


def test_learned_sigma_is_the_negative_bound_and_its_slope_vanishes_at_the_mse() -> None:
    balancer, hyper = build("learned_sigma", {})
    S, R = means(terms(1))
    log_sigma = torch.tensor([0.5 * math.log(S / D)], dtype=torch.float64, requires_grad=True)
    loss = balancer.loss(terms(1), {}, {"log_sigma": log_sigma}, hyper)
    assert float(loss.detach()) == pytest.approx(gaussian(S, R, S / D, 1.0))
    (slope,) = torch.autograd.grad(loss.sum(), log_sigma)
    assert float(slope) == pytest.approx(0.0, abs=1e-9)


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


@pytest.mark.parametrize(("side", "latent", "k"), [(32, 64, 1.0), (64, 64, 4.0), (28, 16, 12.25)])
def test_the_released_rule_weighs_the_kl_by_image_side_and_latent_size(
    side: int, latent: int, k: float
) -> None:
    balancer = BALANCERS.get("asperti_trentin")(ImageShape(3, side, side), latent, 60, 6)
    assert balancer.complete({}, STEPS)["k"] == k
    assert balancer.complete({"k": 2.0}, STEPS)["k"] == 2.0


@pytest.mark.parametrize("name", taking("k"))
def test_beta_is_k_times_sigma_squared_on_top_of_an_automatic_balance(name: str) -> None:
    balancer, hyper = build(name, {"k": 3.0})
    learned = {n: hyper[s.init] for n, s in balancer.learned.items()}
    found, state = terms(4, wanted=balancer.terms), balancer.initial_state(hyper)
    at = balancer.balance(found, state, learned, hyper)
    assert float(at.k) == 3.0
    loss = balancer.loss(found, state, learned, hyper)
    bare = balancer.loss(found, state, learned, {**hyper, "k": hyper["k"] - 2})
    assert float(loss - bare) == pytest.approx(2 * means(found)[1])


@pytest.mark.parametrize("name", taking("log_sigma_min"))
def test_the_soft_clip_rounds_a_member_alone_as_among_47(name: str) -> None:
    bench = Bench.of(name, 47)
    everyone = terms(0, 1e-2, 47).map(Tensor.float)
    hyper = {n: v.float() for n, v in bench.hyper.items()}
    state = bench.state
    together = bench.balancer.loss(everyone, state, {}, hyper)
    for row in range(47):
        alone = everyone.map(lambda term, row=row: term[row : row + 1].clone())
        one = {n: v[row : row + 1].clone() for n, v in hyper.items()}
        before = {n: v[row : row + 1].clone() for n, v in state.items()}
        assert torch.equal(bench.balancer.loss(alone, before, {}, one), together[row : row + 1])


@dataclass
class Bench:
    """A balancer and its members, stepped through terms as a bank does."""

    balancer: Balancer
    hyper: dict[str, Tensor]
    learned: dict[str, Tensor]
    state: State

    @classmethod
    def of(cls, name: str, members: int) -> Bench:
        """Members that differ in every hyperparameter, inside its bounds."""
        balancer = BALANCERS.get(name)(*SETTING)
        values = [example_hyperparameters(balancer, member) for member in range(members)]
        unbounded = [n for n, spec in balancer.hyperparameters.items() if math.isinf(spec.high)]
        for member, value in enumerate(values):
            value.update({n: value[n] * (1 + 0.1 * member) for n in unbounded})
        hyper = {n: torch.tensor([v[n] for v in values]).double() for n in values[0]}
        learned = {n: hyper[s.init].clone() for n, s in balancer.learned.items()}
        return cls(balancer, hyper, learned, balancer.initial_state(hyper))

    def rows(self, order: list[int]) -> Bench:
        def pick(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {n: v[order] for n, v in values.items()}

        return Bench(self.balancer, pick(self.hyper), pick(self.learned), pick(self.state))

    def run(self, sequence: list[Terms]) -> dict[str, Tensor]:
        """Loss, its gradients, sigma^2, k and state after the sequence, by name."""
        for found in sequence[:-1]:
            inputs = (found, self.state, self.learned, self.hyper)
            self.state = self.balancer.next_state(*inputs)
        found = sequence[-1].map(lambda term: term.clone().requires_grad_())
        leaves = {n: v.clone().requires_grad_() for n, v in self.learned.items()}
        loss = self.balancer.loss(found, self.state, leaves, self.hyper)
        watched = {**found.given(), **{f"learned {n}": v for n, v in leaves.items()}}
        slopes = torch.autograd.grad(loss.sum(), list(watched.values()), materialize_grads=True)
        at = self.balancer.balance(sequence[-1], self.state, self.learned, self.hyper)
        after = self.balancer.next_state(sequence[-1], self.state, self.learned, self.hyper)
        return {
            "loss": loss.detach(),
            "log_sigma2": at.log_sigma2,
            "k": at.k,
            **{f"slope of {n}": slope for n, slope in zip(watched, slopes, strict=True)},
            **{f"state {n}": v for n, v in after.items()},
        }


@settings(max_examples=60)
@given(
    name=st.sampled_from(BUILT_IN),
    scale=st.floats(-7, 7).map(lambda power: 10**power),
    seeds=st.lists(st.integers(0, 10_000), min_size=1, max_size=8),
)
def test_sigma_and_k_stay_finite_and_positive(name: str, scale: float, seeds: list[int]) -> None:
    bench = Bench.of(name, 3)
    sequence = [terms(seed, scale, 3, bench.balancer.terms) for seed in seeds]
    found = bench.run(sequence)
    assert all(value.isfinite().all() for value in found.values())
    assert (found["log_sigma2"].exp() > 0).all()
    assert (found["k"] >= 0).all()


@settings(max_examples=60)
@given(
    name=st.sampled_from(BUILT_IN),
    order=st.integers(1, 7).flatmap(lambda members: st.permutations(range(members))),
    seeds=st.lists(st.integers(0, 10_000), min_size=1, max_size=4),
)
def test_members_may_be_in_any_order(name: str, order: list[int], seeds: list[int]) -> None:
    bench = Bench.of(name, len(order))
    sequence = [terms(seed, 1.0, len(order), bench.balancer.terms) for seed in seeds]
    found = bench.rows(order).run([t.rows(torch.tensor(order)) for t in sequence])
    expected = {n: v[order] for n, v in bench.run(sequence).items()}
    assert found.keys() == expected.keys()
    for output, value in expected.items():
        torch.testing.assert_close(found[output], value, rtol=0, atol=0)


@settings(max_examples=60)
@given(
    name=st.sampled_from(BUILT_IN),
    ill=st.integers(0, 4),
    since=st.integers(0, 3),
    poison=st.sampled_from([math.nan, math.inf, -math.inf]),
)
def test_one_members_nan_reaches_no_other(name: str, ill: int, since: int, poison: float) -> None:
    """In any term, from any step on: nothing of the others changes."""
    healthy = Bench.of(name, 5)
    sequence = [terms(seed, 1.0, 5, healthy.balancer.terms) for seed in range(4)]
    expected = healthy.run(sequence)
    spoilt = [found.map(torch.clone) for found in sequence]
    for found in spoilt[since:]:
        found.map(lambda term: term[ill].fill_(poison))
    got = Bench.of(name, 5).run(spoilt)
    others = [member for member in range(5) if member != ill]
    for output, value in expected.items():
        torch.testing.assert_close(got[output][others], value[others], rtol=0, atol=0)


def test_a_hyperparameter_is_held_to_its_name_and_bounds() -> None:
    family = BALANCERS.get("fixed_beta")
    with pytest.raises(ContractError, match="has no hyperparameter 'bta'") as caught:
        check_hyperparameters(family, {"bta": 1.0})
    assert "did you mean 'beta'" in str(caught.value)
    with pytest.raises(ContractError, match=r"beta = 0\.0"):
        check_hyperparameters(family, {"beta": 0.0})


@pytest.mark.parametrize("name", taking("beta_low"))
def test_a_range_of_beta_has_two_ends(name: str) -> None:
    balancer = BALANCERS.get(name)(*SETTING)
    with pytest.raises(ContractError, match=r"beta_low = 5 .* is not below beta_high = 5"):
        balancer.complete({"beta": 1.0, "beta_low": 5.0}, STEPS)


def test_a_beta_that_is_placed_in_a_range_is_in_it() -> None:
    balancer = BALANCERS.get("gates_frozen")(*SETTING)
    for beta in (0.005, 5.0):
        assert balancer.misfit(balancer.complete({"beta": beta}, STEPS)) is None
    found = balancer.misfit(balancer.complete({"beta": 6.0}, STEPS))
    assert found is not None
    assert found[0].startswith("beta = 6 of balancer 'gates_frozen' is not in the range")


def test_a_learned_sigma_begins_where_it_has_a_gradient() -> None:
    balancer = BALANCERS.get("learned_sigma")(*SETTING)
    for values in ({"log_sigma_init": -8.0}, {"sigma_min": 1.0}):
        found = balancer.misfit(balancer.complete(values, STEPS))
        assert found is not None
        assert "sigma would never be learned" in found[0]
    _, hyper = build("learned_sigma", {"log_sigma_init": -6.7})
    log_sigma = hyper["log_sigma_init"].clone().requires_grad_()
    loss = balancer.loss(terms(1), {}, {"log_sigma": log_sigma}, hyper)
    (slope,) = torch.autograd.grad(loss.sum(), log_sigma)
    assert float(slope) < 0


@pytest.mark.parametrize("df", [1.5e3, 1.6e5, 5e8])
def test_a_student_t_near_a_gaussian_keeps_its_digits(df: float) -> None:
    """Of the loss, and of the slope in ln v, in float32: with ln B and psi from scipy."""
    balancer, hyper = build("student_t", {})
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(1, IMAGES, D, generator=generator)
    xhat = x + 0.1 * torch.randn(x.shape, generator=generator)
    log_df = torch.tensor([math.log(df)], requires_grad=True)
    found = Terms(torch.zeros(1, IMAGES), torch.zeros(1, IMAGES, LATENT), x=x, xhat=xhat)
    learned = {"log_scale": torch.tensor([math.log(0.1)]), "log_df": log_df}
    loss = balancer.loss(found, {}, learned, {n: value.float() for n, value in hyper.items()})
    (slope,) = torch.autograd.grad(loss.sum(), log_df)
    v = math.exp(float(log_df.detach()))
    t = ((x - xhat).double().numpy() / 0.1) ** 2 / v
    normaliser = gammaln(v / 2) - gammaln((v + 1) / 2) + 0.5 * math.log(math.pi * v) + math.log(0.1)
    tails = np.log1p(t).sum() / IMAGES
    assert float(loss.detach()) == pytest.approx(D * normaliser + (v + 1) / 2 * tails, rel=1e-5)
    of_normaliser = v / 2 * (digamma(v / 2) - digamma((v + 1) / 2)) + 0.5
    of_tails = v / 2 * tails - (v + 1) / 2 * (t / (1 + t)).sum() / IMAGES
    assert float(slope) == pytest.approx(D * of_normaliser + of_tails, abs=1e-4)


def test_u_is_standardised_and_places_each_beta_where_training_had_it() -> None:
    """Of ln beta uniform on the range; the control sees the u of its beta, and offers it alone."""
    balancer, hyper = build("multi_rate", {"beta_low": 0.001, "beta_high": 2.0})
    draws = (torch.arange(10_000, dtype=torch.float64)[None] + 0.5) / 10_000
    u = balancer.drawn(draws, hyper)
    assert float(u.mean()) == pytest.approx(0.0, abs=1e-9)
    assert float(u.var()) == pytest.approx(1.0, rel=1e-3)
    log_beta = math.log(0.001) + draws * math.log(2000)
    torch.testing.assert_close(balancer.u_of(log_beta.exp(), hyper), u)
    ends = balancer.betas({n: float(v) for n, v in hyper.items()})
    assert (len(ends), ends[0], ends[-1]) == (9, 0.001, 2.0)
    assert ends[4] == pytest.approx(math.sqrt(0.001 * 2.0))
    frozen, given = build("gates_frozen", {"beta": 0.3, "beta_low": 0.001, "beta_high": 2.0})
    place = balancer.u_of(torch.tensor([0.3], dtype=torch.float64), hyper)
    torch.testing.assert_close(frozen.drawn(draws, given), place.expand_as(draws))
    assert frozen.betas({n: float(v) for n, v in given.items()}) == [0.3]


@pytest.mark.parametrize("name", [name for name in taking("k") if name not in taking("beta")])
def test_beta_on_top_of_an_automatic_balance_is_called_k(name: str) -> None:
    with pytest.raises(ContractError, match="no hyperparameter 'beta'") as caught:
        check_hyperparameters(BALANCERS.get(name), {"beta": 3.0})
    assert "called 'k'" in caught.value.remedy
    check_hyperparameters(BALANCERS.get(name), {"k": 3.0})


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


class _Overshoots(BALANCERS.get("running_average")):  # type: ignore[misc]
    name = "overshoots"

    def derived(self, steps):  # type: ignore[no-untyped-def]
        return {"decay": 1 + 1 / steps}


class _Silent(BALANCERS.get("fixed_beta")):  # type: ignore[misc]
    name = "silent"
    hand_tuned = None


class _Invents(BALANCERS.get("fixed_beta")):  # type: ignore[misc]
    name = "invents"
    terms = frozenset({"squared_error", "kl", "entropy"})


class _Headless(BALANCERS.get("predicted_pixel_sigma")):  # type: ignore[misc]
    name = "headless"
    head = None


class _TwoHeads(BALANCERS.get("predicted_pixel_sigma")):  # type: ignore[misc]
    name = "two_heads"
    head = "both"


class _Cauchy(BALANCERS.get("laplace_scale")):  # type: ignore[misc]
    name = "cauchy"
    likelihood = "cauchy"


class _Undeclared(BALANCERS.get("laplace_scale")):  # type: ignore[misc]
    name = "undeclared"
    terms = frozenset({"squared_error", "kl"})


class _GatesAHead(BALANCERS.get("predicted_image_sigma")):  # type: ignore[misc]
    name = "gates_a_head"
    gated = True


class _SeesNoGates(BALANCERS.get("multi_rate")):  # type: ignore[misc]
    name = "sees_no_gates"
    gated = False


class _OneForAll(BALANCERS.get("multi_rate")):  # type: ignore[misc]
    name = "one_for_all"

    def drawn(self, draws, hyper):  # type: ignore[no-untyped-def]
        return super().drawn(draws, hyper)[:, :1]


class _OffersNothing(BALANCERS.get("multi_rate")):  # type: ignore[misc]
    name = "offers_nothing"

    def betas(self, values):  # type: ignore[no-untyped-def]
        return []


class _MixesHeads(BALANCERS.get("predicted_image_sigma")):  # type: ignore[misc]
    name = "mixes_heads"

    def reconstruction(self, terms, at):  # type: ignore[no-untyped-def]
        return terms.nll.mean().expand(len(terms.nll))


@pytest.mark.parametrize(
    ("family", "clause"),
    [
        (_Silent, "does not declare whether it is hand_tuned.*\n.*hand_tuned = False"),
        (_Invents, "terms that are not measured: entropy"),
        (_Headless, "declares log_sigma2, nll without a head"),
        (_GatesAHead, "gates a model that has a head"),
        (_SeesNoGates, "declares u without gating the model"),
        (_OneForAll, r"draws u of shape \(3, 1\)"),
        (_OffersNothing, r"offers betas \[\], not one or more"),
        (_TwoHeads, "declares head 'both', which is none of image, pixel"),
        (_Cauchy, "declares likelihood 'cauchy', none of gaussian, laplace, bernoulli"),
        (_Undeclared, "raises AssertionError in a plain step"),
        (_MixesHeads, "alone than among others|order of the members|NaN reach"),
        (_Mixes, "alone than among others|order of the members|NaN reach"),
        (_Impure, "not a pure rule"),
        (_Shapeless, "shape"),
        (_Grows, "names, shapes or types of its state"),
        (_Overshoots, "derives decay = 2, out of bounds, for a training of 1 steps"),
    ],
)
def test_the_suite_names_the_clause_that_is_broken(family: type[Balancer], clause: str) -> None:
    with pytest.raises(ContractError, match=clause):
        check_balancer(family)


def test_a_balancer_of_ones_own_is_found_by_import_path_and_checked() -> None:
    assert BALANCERS.get("vae_core.balancers:FixedBeta").name == "fixed_beta"
    with pytest.raises(ContractError, match="give a subclass"):
        BALANCERS.get("math:sqrt")
