"""Gates: one model for a whole range of beta, by scaling its hidden layers (Multi-Rate VAE).

Bae et al., ICLR 2023, arXiv 2212.03905: every image is trained at a beta of its own, which the
layers see as u. An output channel of a layer is multiplied, before its activation, by a gate

    encoder:  sigmoid(w u + b)        decoder:  sqrt(relu(1 - exp(w u + b)))

with w and b learned for each channel. As in the released code, all layers of the encoder are gated,
those of mean and log variance too, and all of the decoder but its last.

At one u for all images a gate is a constant, which :func:`fold` multiplies into the layer's own
weights: what is evaluated and exported is an ordinary model without gates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from vae_core.errors import ContractError
from vae_core.models.contract import VAE, evaluating
from vae_core.models.layers import Sigmoid

NAME = "rate_gate"
"""What a layer's gate is called among its submodules."""
_PROBED = 2
"""Empty images that show which layers a model calls."""


class Gate(nn.Module):
    """The gate of a layer of C output channels.

    Args:
        channels: C.
        decoder: whether it is the decoder's kind.
        last: whether channels are the last dimension of the layer's output, not the second.

    Attributes:
        u: [B], or [] for all images alike; set by :func:`conditioned`.
    """

    def __init__(self, channels: int, *, decoder: bool, last: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels))
        self.bias = nn.Parameter(torch.empty(channels))
        self.u: Tensor | None = None
        self._decoder, self._last, self._sigmoid = decoder, last, Sigmoid()
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw both from [-1, 1], like the released code: torch's linear layer of one input."""
        nn.init.uniform_(self.weight, -1, 1)
        nn.init.uniform_(self.bias, -1, 1)

    def scale(self, u: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """The factors [..., C] at u [...], of a gate of its kind with these values [C]."""
        raw = torch.addcmul(bias, u.unsqueeze(-1), weight)
        if not self._decoder:
            found: Tensor = self._sigmoid(raw)
            return found
        # Not expm1: the rounding of 1 - exp bounds the slope of the root near 0.
        return torch.sqrt(torch.relu(1 - torch.exp(raw)))

    def forward(self, y: Tensor) -> Tensor:
        """The layer's output, scaled: y is [B, C, ...], or [B, ..., C]."""
        assert self.u is not None, "a gated model runs inside conditioned()"
        scale = self.scale(self.u.expand(len(y)), self.weight, self.bias)
        between = (1,) * (y.dim() - 2)
        shape = (len(y), *between, -1) if self._last else (len(y), -1, *between)
        return y * scale.view(shape)


def add_gates(model: VAE) -> VAE:
    """``model``, its hidden layers gated in place; their parameters keep names and values.

    Layers are torch's linear layers and convolutions and their subclasses, as far as a pass calls
    them.

    Raises:
        ContractError: a layer that cannot be gated, or none at all.
    """
    with evaluating(model):
        encoder = _called(model, lambda: model.encode(torch.zeros(_PROBED, *model.shape.chw)))
        decoder = _called(model, lambda: model.decode(torch.zeros(_PROBED, model.latent)))
    if both := encoder.keys() & decoder.keys():
        raise _refused(model, min(both), "is part of the encoder and of the decoder")
    hidden = dict([*decoder.items()][:-1])
    if not encoder:
        raise ContractError(
            "the encoder calls no linear layer or convolution that could be gated",
            where=f"model {type(model).__name__}",
            remedy="make its layers torch's own, or use another balancer",
        )
    owners: dict[int, int] = {}
    for _, parameter in model.named_parameters(remove_duplicate=False):
        owners[id(parameter)] = owners.get(id(parameter), 0) + 1
    for path, layer in {**encoder, **hidden}.items():
        own = [layer._parameters.get(name) for name in ("weight", "bias")]
        if own[0] is None:
            raise _refused(model, path, "computes its weight from other parameters")
        if any(parameter is not None and owners[id(parameter)] > 1 for parameter in own):
            raise _refused(model, path, "shares a parameter with another layer")
        channels = layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels
        gate = Gate(channels, decoder=path in hidden, last=isinstance(layer, nn.Linear))
        layer.add_module(NAME, gate)
        layer.register_forward_hook(_scaled)
    return model


def gates_of(model: nn.Module) -> dict[str, Gate]:
    """The gates of ``model``, by the path of their layer."""
    return {
        path: gate
        for path, module in model.named_modules()
        if isinstance(gate := module._modules.get(NAME), Gate)
    }


@contextmanager
def conditioned(gates: Iterable[Gate], u: Tensor | None = None) -> Iterator[None]:
    """Let ``gates`` be at ``u`` here: [B], or [] for all images alike; without gates, nothing."""
    gates = list(gates)
    for gate in gates:
        gate.u = u
    try:
        yield
    finally:
        for gate in gates:
            gate.u = None


def fold(
    model: nn.Module, gates: Mapping[str, Gate], values: Mapping[str, Tensor], u: Tensor
) -> None:
    """Multiply the gates at u into the layers of ``model``, which has none, in place.

    Args:
        model: has the values of the gated model beside its gates.
        gates: :func:`gates_of` the gated one.
        values: its parameters, by name.
        u: [].
    """
    with torch.no_grad():
        for path, gate in gates.items():
            name = f"{path}.{NAME}"
            scale = gate.scale(u, values[f"{name}.weight"], values[f"{name}.bias"])
            layer: Any = model.get_submodule(path)
            rest = (1,) * (layer.weight.dim() - 2)
            if isinstance(layer, _ConvTransposeNd):  # [C_in, C_out / groups, ...]
                inputs = layer.in_channels // layer.groups
                factors = scale.view(layer.groups, -1).repeat_interleave(inputs, dim=0)
                layer.weight.mul_(factors.view(*factors.shape, *rest))
            else:
                layer.weight.mul_(scale.view(-1, 1, *rest))
            if layer.bias is not None:
                layer.bias.mul_(scale)


def _scaled(layer: nn.Module, inputs: Any, output: Tensor) -> Tensor:
    scaled: Tensor = layer.get_submodule(NAME)(output)
    return scaled


def _called(model: VAE, call: Callable[[], Any]) -> dict[str, Any]:
    """The layers that ``call`` calls, by path, in the order of their last calls."""
    found: dict[str, Any] = {}
    hooks = []
    for path, module in model.named_modules():
        if isinstance(module, nn.Linear | _ConvNd):

            def note(layer: nn.Module, inputs: Any, output: Tensor, path: str = path) -> None:
                if output.dim() < 2 or len(output) != _PROBED:
                    raise _refused(model, path, "gives no output whose first dimension is images")
                found.pop(path, None)
                found[path] = layer

            hooks.append(module.register_forward_hook(note))
    try:
        call()
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _refused(model: nn.Module, path: str, what: str) -> ContractError:
    return ContractError(
        f"layer '{path}' cannot be gated: it {what}",
        where=f"model {type(model).__name__}",
        remedy="change the layer, or use a balancer that does not gate the model "
        "(all but multi_rate and gates_frozen)",
    )
