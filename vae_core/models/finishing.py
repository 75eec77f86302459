"""What a model gets once its ``__init__`` is through: shapes of lazy layers, stateless dropout."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from vae_core.errors import ContractError
from vae_core.models.contract import VAE, evaluating
from vae_core.models.dropout import make_stateless


def finish(model: VAE) -> VAE:
    """``model``, ready to be initialised.

    One pass on two empty images in evaluation mode gives torch's lazy layers their shapes.

    Raises:
        ContractError: a lazy layer has no part in the pass.
    """
    if _lazy(model):
        with evaluating(model):
            model(torch.zeros(2, *model.shape.chw), torch.zeros(2, model.latent))
        if left := _lazy(model):
            raise ContractError(
                f"the lazy layer {left[0]} gets no shape: encode and decode do not use it",
                where=f"model {type(model).__name__}",
                remedy="use it in encode or decode, or remove it",
            )
    make_stateless(model)
    return model


def _lazy(model: nn.Module) -> list[str]:
    """The layers of ``model`` with parameters or buffers that have no shape yet."""
    return [
        f"'{name or '(the model itself)'}' ({type(module).__name__})"
        for name, module in model.named_modules()
        if any(
            tensor is not None and is_lazy(tensor)
            for tensor in (*module._parameters.values(), *module._buffers.values())
        )
    ]
