"""Starting values that depend only on the seed and on a parameter's own name and shape."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from vae_core.models.contract import evaluating
from vae_core.models.drawing import draw
from vae_core.models.dropout import restart
from vae_core.randomness import derive

# `reset_parameters` draws from torch's one global generator: no two threads may use it at once.
_GLOBAL_GENERATOR = threading.RLock()


def initialise(model: nn.Module, seed: int) -> None:
    """Set every parameter of ``model``, on the CPU, from (seed, its name, its shape) alone.

    Models of other sizes therefore share the start of every parameter they have in common, which
    pairs trials of equal seed. The owning module's ``reset_parameters()`` draws the values (the
    convention of torch's meta-device initialisation), once per parameter, from a generator seeded
    for that parameter (:mod:`vae_core.models.drawing`). Dropout layers begin the seed's streams.
    Torch's global generator is left unchanged.

    Raises:
        ContractError: a module owns parameters and has no ``reset_parameters()``.
    """
    values: dict[str, Tensor] = {}

    def seeded(name: str, shape: torch.Size) -> None:
        torch.default_generator.manual_seed(derive(seed, "init", name, *shape))

    with private_randomness(), evaluating(model):
        for name, parameter in model.named_parameters():
            draw(model, name, seeded)
            values[name] = parameter.clone()
        # Only now: a later reset of the same module has overwritten the earlier values.
        for name, parameter in model.named_parameters():
            parameter.copy_(values[name])
        restart(model, seed)


@contextmanager
def private_randomness() -> Iterator[None]:
    """Lock torch's global CPU generator for use here, and restore its state afterwards."""
    with _GLOBAL_GENERATOR, torch.random.fork_rng(devices=[]):
        yield
