"""How a layer draws one of its parameters anew: what ``reset_parameters()`` is for most of them.

Torch 2.14 has layers without it (``nn.MultiheadAttention``, parameter lists), and layers whose
weight is computed from parameters of another name (weight and spectral normalisation).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from vae_core.errors import ContractError


def draw(model: nn.Module, name: str, seeded: Callable[[str, torch.Size], None]) -> None:
    """Have the layer that owns parameter ``name`` of ``model`` draw it, maybe beside its others.

    Parameters that a weight is computed from are set so that it is the weight drawn: with and
    without such a normalisation a layer starts equal.

    Args:
        model: in evaluation mode, so that nothing but parameters changes.
        name: of the parameter.
        seeded: is called with the name and the shape of what is drawn, before that.

    Raises:
        ContractError: the layer cannot draw it.
    """
    path, _, attribute = name.rpartition(".")
    owner = model.get_submodule(path)
    if isinstance(owner, parametrize.ParametrizationList) and attribute.startswith("original"):
        path, _, tensor = path.rpartition(".")
        _draw_parametrized(model, path.removesuffix("parametrizations").rstrip("."), tensor, seeded)
        return
    for hook in owner._forward_pre_hooks.values():
        if isinstance(hook, SpectralNorm | WeightNorm) and attribute in _parts(hook):
            _draw_hooked(model, path, hook, seeded)
            return
    resets = _resets(model, path, attribute)
    seeded(name, model.get_parameter(name).shape)
    for reset in resets:
        reset()


def _resets(model: nn.Module, path: str, attribute: str) -> list[Callable[[], object]]:
    """What draws a parameter of the module at ``path``, in order."""
    owner = model.get_submodule(path)
    while isinstance(owner, nn.ParameterList | nn.ParameterDict) and path:
        path, _, listed = path.rpartition(".")
        owner, attribute = model.get_submodule(path), f"{listed}.{attribute}"
    outer = model.get_submodule(path.rpartition(".")[0])
    found = []
    if callable(reset := getattr(owner, "reset_parameters", None)):
        found.append(reset)
    elif isinstance(owner, nn.MultiheadAttention):
        found.append(owner._reset_parameters)
    if isinstance(outer, nn.MultiheadAttention) and owner is outer.out_proj:
        found.append(outer._reset_parameters)  # zeroes the bias
    if not found:
        raise ContractError(
            f"parameter '{attribute}' of its module "
            f"'{path or '(the model itself)'}' ({type(owner).__name__}) cannot be "
            "initialised: the module has no reset_parameters()",
            where=f"model {type(model).__name__}",
            remedy="give that module a method reset_parameters() that draws new values "
            "for the parameters it owns, as torch's layers have",
        )
    return found


def _draw_parametrized(
    model: nn.Module, path: str, tensor: str, seeded: Callable[[str, torch.Size], None]
) -> None:
    """Draw a ``tensor`` under ``torch.nn.utils.parametrize``, and set what it is computed from."""
    layer = model.get_submodule(path)
    resets = _resets(model, path, tensor)
    with parametrize.cached():  # the layer then draws into a tensor that can be read again
        weight: Tensor = getattr(layer, tensor)
        before = weight._version
        seeded(f"{path}.{tensor}" if path else tensor, weight.shape)
        for reset in resets:
            reset()
    if weight._version == before:  # it draws its own parameters, as an LSTM does
        return
    try:
        setattr(layer, tensor, weight)
    except (NotImplementedError, RuntimeError) as error:
        raise ContractError(
            f"parameter '{tensor}' of its module '{path or '(the model itself)'}' cannot be "
            f"initialised: {error}",
            where=f"model {type(model).__name__}",
            remedy="give its parametrization a right_inverse()",
        ) from error


def _draw_hooked(
    model: nn.Module,
    path: str,
    hook: SpectralNorm | WeightNorm,
    seeded: Callable[[str, torch.Size], None],
) -> None:
    """The same under ``torch.nn.utils.weight_norm`` or ``spectral_norm``, which are hooks."""
    layer = model.get_submodule(path)
    resets = _resets(model, path, hook.name)
    weight: Tensor = getattr(layer, hook.name)
    seeded(f"{path}.{hook.name}" if path else hook.name, weight.shape)
    for reset in resets:
        reset()
    for part in _parts(hook):
        length = isinstance(hook, WeightNorm) and part.endswith("_g")
        value = torch.norm_except_dim(weight, 2, hook.dim) if length else weight
        layer.get_parameter(part).copy_(value)


def _parts(hook: SpectralNorm | WeightNorm) -> list[str]:
    """The parameters that the hook computes a weight from."""
    if isinstance(hook, WeightNorm):
        return [f"{hook.name}_g", f"{hook.name}_v"]
    return [f"{hook.name}_orig"]
