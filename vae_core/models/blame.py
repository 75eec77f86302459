"""Which layer of a model is to blame for an error, or mixes the images of a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn


def named(model: nn.Module, module: nn.Module) -> str:
    """How a message names a ``module`` of ``model``."""
    for name, candidate in model.named_modules():
        if candidate is module and name:
            return f"'{name}' ({type(module).__name__})"
    return "the model itself"


def layer_of(model: nn.Module, error: BaseException) -> str:
    """The innermost module of ``model`` in whose code ``error`` was raised."""
    modules = set(model.modules())
    found: nn.Module = model
    trace = error.__traceback__
    while trace is not None:
        owner = trace.tb_frame.f_locals.get("self")
        if isinstance(owner, nn.Module) and owner in modules:
            found = owner
        trace = trace.tb_next
    return named(model, found)


def mixing_layer(
    model: nn.Module, call: Callable[[int], Any], alike: Callable[[Tensor, Tensor], bool]
) -> str:
    """The innermost module whose results of an image depend on the others of the batch.

    Args:
        model: the model.
        call: calls it with the first so many of 4 images.
        alike: whether two results are equal.
    """
    few, many = (_outputs(model, lambda n=n: call(n)) for n in (3, 4))  # type: ignore[misc]
    for (module, one), (_, other) in zip(few, many, strict=False):
        if one.dim() and len(one) == 3 and not alike(one, other[:3]):
            return named(model, module)
    return "the model itself"


def _outputs(model: nn.Module, call: Callable[[], Any]) -> list[tuple[nn.Module, Tensor]]:
    """What each module of ``model`` returns in a call, inner ones first, if that is a tensor."""
    found: list[tuple[nn.Module, Tensor]] = []

    def note(module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            found.append((module, output))

    hooks = [module.register_forward_hook(note) for module in model.modules()]
    try:
        call()
    finally:
        for hook in hooks:
            hook.remove()
    return found
