"""beta given for another loss than S/2 + beta R."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from study.search.phases import Search
from study.spec import (
    LIBRARIES,
    NO_EQUIVALENT,
    Convention,
    Geometry,
    SpecError,
    StudySpec,
    check_names,
    converted,
    resolve,
)
from study.spec.conventions import REDUCTION_WORDS
from study.spec.errors import Source
from study.spec.names import check_beginning

D, BATCH, LATENT = 3 * 4 * 5, 6, 7
HERE = Geometry(D, LATENT, BATCH)
WIDE = {"low": 1e-4, "high": 1e-2, "log": True}


class Step(NamedTuple):
    """What a training step's loss is computed from: images and reconstructions in [0, 1]."""

    x: Tensor  # [BATCH, 3, 4, 5]
    xhat: Tensor
    mu: Tensor  # [BATCH, LATENT]
    logvar: Tensor


@pytest.fixture
def step() -> Step:
    noise = torch.Generator().manual_seed(0)

    def leaf(*shape: int) -> Tensor:
        drawn = torch.rand(shape, generator=noise, dtype=torch.float64)
        return drawn.requires_grad_()

    return Step(
        leaf(BATCH, 3, 4, 5), leaf(BATCH, 3, 4, 5), leaf(BATCH, LATENT), leaf(BATCH, LATENT)
    )


def kl(s: Step) -> Tensor:
    """Of every latent of every image."""
    posterior = torch.distributions.Normal(s.mu, torch.exp(s.logvar / 2))
    prior = torch.distributions.Normal(torch.zeros_like(s.mu), torch.ones_like(s.mu))
    return torch.distributions.kl_divergence(posterior, prior)


def signed(x: Tensor) -> Tensor:
    return x * 2 - 1


def errors(s: Step) -> Tensor:
    """Squared errors summed over the pixels of each image."""
    return ((s.x - s.xhat) ** 2).flatten(1).sum(1)


def likelihood(s: Step) -> Tensor:
    """-ln p(x|z) of each image under unit variance."""
    found = torch.distributions.Normal(s.xhat, 1.0).log_prob(s.x)
    return -found.flatten(1).sum(1)


# Each library's loss with weight w, from its source.
LOSSES: dict[str, Callable[[Step, float], Tensor]] = {
    "pythae": lambda s, w: (0.5 * errors(s) + w * kl(s).sum(1)).mean(),
    "pytorch_vae": lambda s, w: functional.mse_loss(s.xhat, s.x) + w * kl(s).sum(1).mean(),
    "pytorch_vae_2020": lambda s, w: (
        functional.mse_loss(signed(s.xhat), signed(s.x)) + w * kl(s).sum(1).mean()
    ),
    "lightning_bolts": lambda s, w: functional.mse_loss(s.xhat, s.x) + w * kl(s).mean(),
    "disent": lambda s, w: ((s.xhat - s.x) ** 2).mean() + w * kl(s).mean(),
    "disent_mean_sum": lambda s, w: errors(s).mean() + w * kl(s).sum(1).mean(),
    "disentanglement_lib_l2": lambda s, w: errors(s).mean() + w * kl(s).sum(1).mean(),
    # Keras adds the regulariser of both outputs of a layer: the distribution and its sample.
    "tfp_regularizer": lambda s, w: likelihood(s).mean() + 2 * (w * kl(s).sum() / BATCH),
    "tfp_add_loss": lambda s, w: likelihood(s).mean() + w * kl(s).sum(),
    "diffusers": lambda s, w: (
        ((signed(s.xhat) - signed(s.x)) ** 2).sum() / BATCH + w * kl(s).sum() / BATCH
    ),
}


def gradient(loss: Tensor, step: Step) -> Tensor:
    found = torch.autograd.grad(loss, [step.xhat, step.mu, step.logvar])
    return torch.cat([part.flatten() for part in found])


@pytest.mark.parametrize("name", LIBRARIES)
def test_the_loss_of_a_library_pulls_as_s_half_plus_its_beta_r(name: str, step: Step) -> None:
    """To one factor of the whole loss, which Adam does not see."""
    theirs = gradient(LOSSES[name](step, 0.3), step)
    beta = LIBRARIES[name].convention.half_sum_beta(0.3, HERE)
    ours = gradient(0.5 * errors(step).mean() + beta * kl(step).sum(1).mean(), step)
    torch.testing.assert_close(theirs / theirs.norm(), ours / ours.norm(), rtol=1e-12, atol=1e-15)
    other = gradient(0.5 * errors(step).mean() + 1.01 * beta * kl(step).sum(1).mean(), step)
    assert not torch.allclose(theirs / theirs.norm(), other / other.norm(), rtol=1e-6, atol=0)


@given(
    beta=st.floats(1e-6, 1e6),
    dims=st.integers(1, 20_000),
    latent=st.integers(1, 512),
    low=st.floats(-4, 0),
    times=st.floats(0.1, 10),
)
def test_the_conversion_keeps_the_minimiser(
    beta: float, dims: int, latent: int, low: float, times: float
) -> None:
    """c (w^2 S) + beta t R/L divided by 2 c w^2 is S/2 + beta' R."""
    at = Geometry(dims, latent, 1)
    for reduction, c in (
        ("half_sum", 0.5), ("sum", 1.0), ("mean", 1 / dims), ("half_mean", 0.5 / dims)
    ):  # fmt: skip
        loss = Convention(reconstruction=reduction, range=[low, 1.0], kl="mean", times=times)
        ours = loss.half_sum_beta(beta, at)
        assert ours * 2 * c * (1 - low) ** 2 == pytest.approx(beta * times / latent)


@given(beta=st.floats(1e-6, 1e6), dims=st.integers(1, 20_000))
def test_a_reduction_is_a_convention_to_the_last_bit(beta: float, dims: int) -> None:
    for reduction, factor in (("half_sum", 1.0), ("sum", 0.5), ("mean", dims / 2)):
        loss = Convention(reconstruction=reduction)
        assert loss.half_sum_beta(beta, Geometry(dims, 7, 9)) == beta * factor


def arm_of(convention: Any, **more: Any) -> dict[str, Any]:
    return {"name": "fixed_beta", "convention": convention, **more}


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_name_is_its_parts_and_a_frozen_spec_holds_both(base: Any, name: str) -> None:
    spec = StudySpec.from_dict(base(arms={"a": {"balancer": arm_of(name, beta=1)}}))
    written = spec.to_dict()["arms"]["a"]["balancer"]
    assert "reduction" not in written
    parts = dict(written["convention"])
    assert parts.pop("name") == name
    frozen = yaml.safe_load(yaml.safe_dump(spec.to_dict(), sort_keys=False))
    assert StudySpec.from_dict(frozen).hash == spec.hash
    spelled = StudySpec.from_dict(base(arms={"a": {"balancer": arm_of(parts, beta=1)}}))
    betas = [resolve(found, "a", {}, D)["balancer"] for found in (spec, spelled)]
    assert betas[0] == betas[1]


def test_a_spec_without_one_is_written_as_ever(base: Any) -> None:
    balancer = {"name": "fixed_beta", "beta": 1, "convention": None}
    written = StudySpec.from_dict(base(arms={"a": {"balancer": balancer}})).to_dict()
    assert written["arms"]["a"]["balancer"] == {
        "name": "fixed_beta", "reduction": "half_sum", "beta": 1.0
    }  # fmt: skip


def test_both_values_are_settings_of_the_trial(base: Any) -> None:
    spec = StudySpec.from_dict(base(arms={"a": {"balancer": arm_of("pytorch_vae", beta=0.00025)}}))
    settings = resolve(spec, "a", {}, 3 * 64 * 64)
    assert settings["balancer"] == {"name": "fixed_beta", "beta": pytest.approx(1.536)}
    assert settings["given"] == {"beta": 0.00025, "convention": "pytorch_vae (mean)"}
    plain = StudySpec.from_dict(base(arms={"a": {"balancer": {"name": "fixed_beta", "beta": 1}}}))
    assert "given" not in resolve(plain, "a", {}, 64)


def test_ends_of_a_range_of_beta_are_in_no_other_loss(base: Any, searching: Any) -> None:
    """Which are in S/2 + beta R: beside them beta would be placed for other gates."""
    gates = {"name": "gates_frozen", "reduction": "mean", "beta": 0.003}
    given = base(arms={"a": {"balancer": gates | {"beta_low": 0.0003}}})
    searched = searching({"beta_high": {"low": 1.0, "high": 5.0}}, gates)
    for data, key in ((given, "beta_low"), (searched, "beta_high")):
        spec = StudySpec.from_dict(data)
        with pytest.raises(SpecError, match=f"{key} is in S/2") as caught:
            check_beginning(spec, (), Source())
        assert caught.value.where == "arms.a"
        check_beginning(spec, {"a"}, Source())
    check_beginning(StudySpec.from_dict(base(arms={"a": {"balancer": gates}})), (), Source())


def test_a_kl_averaged_over_latents_is_converted_by_the_trials_own(searching: Any) -> None:
    space = {"beta": WIDE, "model.latent": [2, 8]}
    spec = StudySpec.from_dict(searching(space, arm_of({"reconstruction": "mean", "kl": "mean"})))
    betas = [
        resolve(spec, "a", {"beta": 0.01, "model.latent": latent}, 64)["balancer"]["beta"]
        for latent in (2, 8)
    ]
    assert betas == pytest.approx([0.01 * 32 / 2, 0.01 * 32 / 8])


def test_a_kl_summed_over_the_batch_is_converted_by_the_trials_own(searching: Any) -> None:
    spec = StudySpec.from_dict(searching({"training.batch_size": [4, 16]}, arm_of("tfp_add_loss")))
    params = {"beta": 0.5, "training.batch_size": 4}
    assert resolve(spec, "a", params, 64)["balancer"]["beta"] == 2.0


def test_what_is_given_and_what_it_is_here_are_shown(base: Any, searching: Any) -> None:
    fixed = StudySpec.from_dict(base(arms={"a": {"balancer": arm_of("pytorch_vae", beta=0.00025)}}))
    assert [*converted(fixed, 3 * 64 * 64)] == [
        "arm 'a': beta 0.00025 for the loss pytorch_vae (mean) is 1.536 in S/2 + beta R"
    ]
    parts = {"reconstruction": "mean", "range": [-1, 1], "kl": "mean"}
    space = {"beta": WIDE, "model.latent": [2, 8], "training.lr": [1e-3, 1e-2]}
    (line,) = converted(StudySpec.from_dict(searching(space, arm_of(parts))), 64)
    assert line == (
        "arm 'a': beta 0.0001 to 0.01 for the loss mean, range [-1, 1], kl mean is 0.0001 to 0.04 "
        "in S/2 + beta R, by each trial's model.latent"
    )
    assert [*converted(StudySpec.from_dict(base()), 64)] == []


def test_a_range_is_searched_as_its_converted_range_would_be(searching: Any) -> None:
    """Ends and logarithm: the same betas in S/2 + beta R, draw by draw."""
    factor = 0.5 * 64 / 4
    ours = {"low": WIDE["low"] * factor, "high": WIDE["high"] * factor, "log": True}
    parts = {"reconstruction": "mean", "range": [-1, 1]}
    drawn = []
    for space, balancer in (({"beta": WIDE}, arm_of(parts)), ({"beta": ours}, "fixed_beta")):
        spec = StudySpec.from_dict(searching(space, balancer, trials=16))
        asked = betas_of(spec)
        drawn.append(asked)
    assert drawn[0] == pytest.approx(drawn[1], rel=1e-12)


def betas_of(spec: StudySpec) -> list[float]:
    """In S/2 + beta R, of the search's first batch."""
    from optuna.storages import InMemoryStorage

    search = Search(InMemoryStorage(), spec, 64, "a", 0)
    return [asked.settings["balancer"]["beta"] for asked in search.ask_batch()]


@pytest.mark.parametrize(
    ("balancer", "key", "what", "remedy"),
    [
        (
            {"beta": 1, "convention": "pythae", "reduction": "sum"},
            *("reduction", "reduction and convention are both given", "leave out reduction"),
        ),
        (
            {"beta": 1, "convention": "pytorch-vae"},
            *("convention", "no convention 'pytorch-vae'", "did you mean 'pytorch_vae'?"),
        ),
        (
            {"beta": 1, "convention": {"name": "pytorch_vae", "kl": "mean"}},
            *("convention.kl", "that of pytorch_vae is 'sum'", "leave out name, or this part"),
        ),
        (
            {"beta": 1, "convention": {"range": [-1, 1]}},
            *("convention", "'reconstruction' is missing", REDUCTION_WORDS),
        ),
        (
            {"beta": 1, "convention": {"reconstruction": "mean", "range": "standardised"}},
            *("convention.range", "is not a range", "channels of different deviations have no"),
        ),
        (
            {"beta": 1, "convention": {"reconstruction": "mean", "range": [1, -1]}},
            *("convention.range", "is no range", "e.g. [-1, 1]"),
        ),
        (
            {"beta": 1, "convention": {"reduction": "mean"}},
            *("convention.reduction", "unknown key 'reduction'", "'reconstruction'"),
        ),
    ],
)
def test_a_wrong_convention(
    base: Any, refused: Any, balancer: Any, key: str, what: str, remedy: str
) -> None:
    error = refused(base(arms={"a": {"balancer": {"name": "fixed_beta", **balancer}}}))
    assert error.where.endswith(f": arms.a.balancer.{key}")
    assert what in error.what
    assert remedy in error.remedy


@pytest.mark.parametrize("name", NO_EQUIVALENT)
def test_a_loss_without_an_equivalent_says_why(base: Any, name: str) -> None:
    for part, key in (
        ({"convention": name}, "convention"),
        ({"reduction": name}, "reduction"),
        ({"convention": {"reconstruction": name}}, "convention.reconstruction"),
    ):
        balancer = {"name": "fixed_beta", "beta": 1, **part}
        with pytest.raises(SpecError, match="has no equivalent in S/2 \\+ beta R: ") as caught:
            StudySpec.from_dict(base(arms={"a": {"balancer": balancer}}))
        assert caught.value.where == f"arms.a.balancer.{key}"


def test_no_loss_is_both_a_library_of_known_beta_and_without_one() -> None:
    assert not LIBRARIES.keys() & NO_EQUIVALENT.keys()
    assert LOSSES.keys() == LIBRARIES.keys()


def test_a_convention_belongs_to_a_balancer_with_a_beta(base: Any) -> None:
    balancer = {"name": "learned_sigma", "convention": "pythae"}
    with pytest.raises(SpecError, match="takes no beta, so no convention of its loss") as caught:
        check_names(StudySpec.from_dict(base(arms={"a": {"balancer": balancer}})))
    assert caught.value.where == "arms.a.balancer.convention"
