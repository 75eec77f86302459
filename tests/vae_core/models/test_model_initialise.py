"""Starting values depend on the seed, the parameter's name and its shape, and on nothing else."""

import math

import pytest
import torch
from torch import nn

from vae_core.errors import ContractError
from vae_core.geometry import ImageShape
from vae_core.models import build, initialise
from vae_core.models.layers import Double

SHAPE = ImageShape(1, 28, 28)


def started(seed, **settings):
    model = build({"name": "mlp", "latent": 4, "width": 32, **settings}, SHAPE)
    initialise(model, seed)
    return dict(model.named_parameters())


@pytest.mark.parametrize("name", ["mlp", "conv"])
def test_models_of_other_latent_size_share_what_they_have_in_common(name):
    small, large = started(7, name=name, latent=2), started(7, name=name, latent=9)
    common = [key for key in small if small[key].shape == large[key].shape]
    assert len(common) >= 4
    assert len(common) < len(small)
    for key in common:
        assert torch.equal(small[key], large[key])


def test_a_parameter_does_not_depend_on_the_neighbouring_layers_sizes():
    deep, shallow = started(3, depth=3), started(3, depth=1)
    assert torch.equal(deep["encoder.1.weight"], shallow["encoder.1.weight"])


def test_other_seeds_give_other_weights_and_the_same_seed_the_same():
    first, again, other = started(1), started(1), started(2)
    for key, value in first.items():
        assert torch.equal(value, again[key])
        assert torch.equal(value, other[key]) == key.endswith("bias")


def test_parameters_of_one_shape_differ_by_name():
    parameters = started(1, depth=3)
    assert not torch.equal(parameters["encoder.3.weight"], parameters["encoder.5.weight"])


def test_values_do_not_depend_on_the_global_generator_and_leave_it_alone():
    torch.manual_seed(5)
    first = started(1)
    before = torch.get_rng_state()
    second = started(1)
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("name", ["mlp", "conv"])
def test_weights_are_he_and_biases_zero(name):
    for key, value in started(0, name=name, latent=64).items():
        if key.endswith("bias"):
            assert not value.any()
            continue
        fan_in = value[0].numel()
        if name == "conv" and key.startswith("decoder") and value.dim() == 4:
            fan_in = value.shape[0] * 4  # 16 taps over the 4 pixels of a stride of 2
        deviation = value.std().item()
        assert deviation == pytest.approx(math.sqrt(2 / fan_in), rel=5 / math.sqrt(value.numel()))


def test_he_keeps_the_signals_size_through_transposed_convolutions():
    torch.manual_seed(0)
    layer = Double(64, 64)
    x = torch.randn(8, 64, 16, 16).relu()  # E[x^2] = 1/2, so a He layer's output has variance 1
    inner = layer(x)[..., 2:-2, 2:-2]
    assert inner.var().item() == pytest.approx(1.0, rel=0.1)


def test_tied_parameters_and_torch_layers_are_initialised():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.BatchNorm1d(3))
    model[1].weight = model[0].weight
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(torch.nan)
    initialise(model, 0)
    untied = nn.Sequential(nn.Linear(3, 3))
    initialise(untied, 0)
    assert all(parameter.isfinite().all() for parameter in model.parameters())
    assert torch.equal(model[1].weight, untied[0].weight)


def test_a_module_without_reset_parameters_is_refused():
    class Bare(nn.Module):
        def __init__(self):
            super().__init__()
            self.shift = nn.Parameter(torch.zeros(2))

    with pytest.raises(ContractError, match=r"'0\.shifting'.*reset_parameters"):
        initialise(nn.Sequential(nn.ModuleDict({"shifting": Bare()})), 0)
