"""Starting values of layers without ``reset_parameters()``, or with a computed weight."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from vae_core.errors import ContractError
from vae_core.models import initialise


def started(layer: nn.Module, seed: int = 2) -> nn.Module:
    model = nn.Sequential(layer)
    initialise(model, seed)
    return layer


def old(function: Callable[..., nn.Module], layer: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return function(layer)


def test_attention_starts_as_torch_starts_it() -> None:
    layer = started(nn.MultiheadAttention(32, 4, add_bias_kv=True))
    assert isinstance(layer, nn.MultiheadAttention)
    assert torch.equal(layer.in_proj_bias, torch.zeros(96))
    assert torch.equal(layer.out_proj.bias, torch.zeros(32))
    bound = math.sqrt(6 / (32 + 96))  # Glorot's, of the joint matrix
    assert 0.95 * bound < float(layer.in_proj_weight.detach().abs().max()) <= bound
    assert float(layer.out_proj.weight.detach().abs().max()) <= 1 / math.sqrt(32)
    other = started(nn.MultiheadAttention(32, 4), seed=3)
    assert isinstance(other, nn.MultiheadAttention)
    assert not torch.equal(other.in_proj_weight, layer.in_proj_weight)
    same = started(nn.MultiheadAttention(32, 8, kdim=32))
    assert isinstance(same, nn.MultiheadAttention)
    assert torch.equal(same.in_proj_weight, layer.in_proj_weight)


NORMALISED: dict[str, Callable[[nn.Module], nn.Module]] = {
    "weight_norm": parametrizations.weight_norm,
    "weight_norm, a hook": lambda layer: old(nn.utils.weight_norm, layer),
}
SPECTRAL: dict[str, Callable[[nn.Module], nn.Module]] = {
    "spectral_norm": parametrizations.spectral_norm,
    "spectral_norm, a hook": nn.utils.spectral_norm,
}


@pytest.mark.parametrize("normalise", NORMALISED.values(), ids=NORMALISED)
@pytest.mark.parametrize("make", [lambda: nn.Linear(6, 5), lambda: nn.Conv2d(3, 4, 3)])
def test_a_layer_starts_at_the_weight_it_has_without_weight_norm(
    normalise: Callable[[nn.Module], nn.Module], make: Callable[[], nn.Module]
) -> None:
    plain, layer = started(make()), started(normalise(make()))
    x = torch.randn(2, 6) if isinstance(plain, nn.Linear) else torch.randn(2, 3, 5, 5)
    torch.testing.assert_close(layer(x), plain(x))


@pytest.mark.parametrize("normalise", SPECTRAL.values(), ids=SPECTRAL)
def test_a_layer_starts_at_that_weight_over_its_norm(
    normalise: Callable[[nn.Module], nn.Module],
) -> None:
    plain, layer = started(nn.Linear(6, 5, bias=False)), started(normalise(nn.Linear(6, 5, False)))
    buffers = {name: buffer.clone() for name, buffer in layer.named_buffers()}
    started(layer)
    assert all(torch.equal(b, buffers[name]) for name, b in layer.named_buffers())
    x = torch.randn(4, 6)
    for _ in range(100):  # one power iteration a call
        found = layer(x)
    assert isinstance(plain, nn.Linear)
    norm = torch.linalg.matrix_norm(plain.weight, 2)
    torch.testing.assert_close(found, plain(x) / norm, rtol=1e-4, atol=1e-5)


def test_an_orthogonal_weight_starts_orthogonal_and_by_its_seed() -> None:
    weights = []
    for seed in (1, 1, 2):
        layer = started(parametrizations.orthogonal(nn.Linear(5, 5)), seed)
        assert isinstance(layer.weight, Tensor)
        torch.testing.assert_close(layer.weight @ layer.weight.T, torch.eye(5))
        weights.append(layer.weight.detach().clone())
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_weight_normed_lstm_draws_what_it_owns() -> None:
    layer = parametrizations.weight_norm(nn.LSTM(3, 4), "weight_hh_l0")
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.fill_(torch.nan)
    started(layer)
    assert all(parameter.isfinite().all() for parameter in layer.parameters())


def test_a_parametrization_without_an_inverse_is_refused() -> None:
    class Doubled(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * x

    layer = nn.utils.parametrize.register_parametrization(nn.Linear(2, 2), "weight", Doubled())
    with pytest.raises(ContractError, match=r"'weight' of its module '0'.*Doubled") as caught:
        started(layer)
    assert caught.value.remedy == "give its parametrization a right_inverse()"


def test_a_parameter_list_is_drawn_by_the_module_that_holds_it() -> None:
    class Scales(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scales = nn.ParameterList([torch.empty(2) for _ in range(2)])

        def reset_parameters(self) -> None:
            for scale in self.scales:
                nn.init.normal_(scale)

    model = nn.Sequential(Scales())
    initialise(model, 0)
    one, two = model[0].scales
    assert not torch.equal(one, two)
    Scales.reset_parameters = None  # type: ignore[assignment,method-assign]
    with pytest.raises(ContractError, match=r"'scales\.0' of its module '0' \(Scales\)"):
        initialise(model, 0)
