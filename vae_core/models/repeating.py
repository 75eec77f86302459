"""Whether a model's results depend on its inputs, parameters and buffers alone."""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from numbers import Number
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from vae_core.models.blame import named
from vae_core.models.initialise import private_randomness

Outputs = tuple[Tensor, ...]
_SKIPPED = frozenset({"training"})


class Fault(NamedTuple):
    """What is wrong, after the model's name, and the remedy."""

    what: str
    remedy: str


@contextmanager
def private_generators() -> Iterator[None]:
    """Put the states of torch's, numpy's and Python's global generators back at the end."""
    numpys, pythons = np.random.get_state(), random.getstate()
    with private_randomness():
        try:
            yield
        finally:
            np.random.set_state(numpys)
            random.setstate(pythons)


def plain_numbers(model: nn.Module) -> dict[tuple[str, str], Any]:
    """The numbers among the attributes of the modules of ``model``, by module and attribute."""
    return {
        (name, attribute): value
        for name, module in model.named_modules()
        for attribute, value in vars(module).items()
        if isinstance(value, Number) and attribute not in _SKIPPED
    }


def not_repeated(
    model: nn.Module,
    numbers: Mapping[tuple[str, str], Any],
    call: Callable[[], Outputs],
    alike: Callable[[Tensor, Tensor], bool],
) -> Fault | None:
    """Why two equal calls need not give equal results; None: they do.

    Buffers are put back after each call: their changes are a model's lawful memory.

    Args:
        model: the model.
        numbers: its :func:`plain_numbers` before it was first called.
        call: calls it.
        alike: whether two results are equal.
    """
    with _drawing_modules(model) as drawing:
        outputs = []
        before = torch.get_rng_state(), _other_state()
        for _ in range(2):
            buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
            outputs.append(call())
            with torch.no_grad():
                for name, buffer in model.named_buffers():
                    buffer.copy_(buffers[name])
        torchs = not torch.equal(before[0], torch.get_rng_state())
        others = before[1] != _other_state()
    if torchs:
        layer = named(model, drawing[0]) if drawing else "the model itself"
        return Fault(
            f"draws random numbers of its own, in {layer}",
            "use layers such as nn.Dropout, whose masks are made to depend on the trial's seed "
            "alone, in place of functions (F.dropout) and of dropout inside an LSTM or GRU; all "
            "other noise comes in through `noise`",
        )
    if others:
        return Fault(
            "draws random numbers of its own, of numpy or Python",
            "remove them: all noise comes in through `noise`, so that a trial depends on its seed "
            "alone",
        )
    remedy = (
        "keep what a call leaves for the next in a buffer (register_buffer), changed in place: "
        "a bank's members share all other attributes, and checkpoints lack them"
    )
    for (name, attribute), value in plain_numbers(model).items():
        if (old := numbers.get((name, attribute), value)) != value:
            where = named(model, model.get_submodule(name))
            return Fault(
                f"keeps state outside its buffers: calls change attribute '{attribute}' of "
                f"{where} from {old} to {value}",
                remedy,
            )
    if not all(map(alike, *outputs)):
        return Fault(
            "keeps state outside its buffers, or draws random numbers of its own: equal calls "
            "give other results",
            remedy,
        )
    return None


def _other_state() -> tuple[Any, ...]:
    """The state of the global generators of numpy and Python."""
    return pickle.dumps(np.random.get_state()), random.getstate()


@contextmanager
def _drawing_modules(model: nn.Module) -> Iterator[list[nn.Module]]:
    """The modules of ``model`` in whose calls torch's generator moves, inner ones first."""
    found: list[nn.Module] = []
    states: list[Tensor] = []

    def enter(module: nn.Module, inputs: Any) -> None:
        states.append(torch.get_rng_state())

    def leave(module: nn.Module, inputs: Any, output: Any) -> None:
        if not torch.equal(states.pop(), torch.get_rng_state()):
            found.append(module)

    hooks = [m.register_forward_pre_hook(enter) for m in model.modules()]
    hooks += [m.register_forward_hook(leave) for m in model.modules()]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()
