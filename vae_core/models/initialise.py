"""Starting values that depend only on the seed and on a parameter's own name and shape."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from vae_core.errors import ContractError
from vae_core.models.dropout import restart
from vae_core.randomness import derive

# `reset_parameters` draws from torch's one global generator: no two threads may use it at once.
_GLOBAL_GENERATOR = threading.RLock()


def initialise(model: nn.Module, seed: int, names: Collection[str] | None = None) -> None:
    """Set parameters of ``model`` on the CPU, each from (seed, its name, its shape) alone.

    Models of other sizes therefore share the start of every parameter they have in common, which
    pairs trials of equal seed. The owning module's ``reset_parameters()`` draws the values (the
    convention of torch's meta-device initialisation), once per parameter, from a generator seeded
    for that parameter. Dropout layers begin the seed's streams. Torch's global generator is left
    unchanged.

    Args:
        model: the model.
        seed: of the values.
        names: the parameters to set; None: all.

    Raises:
        ContractError: a module owns parameters and has no ``reset_parameters()``.
    """
    values: dict[str, Tensor] = {}
    with private_randomness(), torch.no_grad():
        chosen = [(n, p) for n, p in model.named_parameters() if names is None or n in names]
        for name, parameter in chosen:
            path, _, attribute = name.rpartition(".")
            owner = model.get_submodule(path)
            reset = getattr(owner, "reset_parameters", None)
            if not callable(reset):
                raise ContractError(
                    f"parameter '{attribute}' of its module "
                    f"'{path or '(the model itself)'}' ({type(owner).__name__}) cannot be "
                    "initialised: the module has no reset_parameters()",
                    where=f"model {type(model).__name__}",
                    remedy="give that module a method reset_parameters() that draws new values "
                    "for the parameters it owns, as torch's layers have",
                )
            torch.default_generator.manual_seed(derive(seed, "init", name, *parameter.shape))
            reset()
            values[name] = parameter.clone()
        # Only now: a later reset of the same module has overwritten the earlier values.
        for name, parameter in chosen:
            parameter.copy_(values[name])
        restart(model, seed)


@contextmanager
def private_randomness() -> Iterator[None]:
    """Lock torch's global CPU generator for use here, and restore its state afterwards."""
    with _GLOBAL_GENERATOR, torch.random.fork_rng(devices=[]):
        yield
