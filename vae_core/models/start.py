"""How a model starts: as its layers do, or as its own ``__init__`` set it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vae_core.errors import ContractError
from vae_core.models.contract import VAE, Head
from vae_core.models.dropout import restart
from vae_core.models.initialise import initialise, private_randomness
from vae_core.randomness import derive

_CALLED_BY_INIT = ("torch.", "vae_core.")
"""Packages whose layers call ``reset_parameters()`` whenever they draw their values."""
_NAMED = 4
"""Parameters that a description names; it counts the others."""


class Start:
    """The starting values of a model's members, by seed.

    A parameter that is as its module's ``reset_parameters()`` left it starts as its layer does:
    :func:`initialise` draws it. Everything else is the author's, and stays as ``__init__`` set it.
    Where parameters of the author's differ between two builds under different seeds, ``__init__``
    draws at random, or computes from what its layers drew: each member then takes all of the model,
    which belongs together, from a build under its own seed. What is drawn and a model without a
    head has as well comes from a build without one, which has drawn nothing for the head: arms with
    and without one start equal. Buffers that differ, of a model whose parameters are all its
    layers', are equal for all seeds, unless one is the copy of a parameter.

    Args:
        make: builds the model with a head or None, drawing under a seed, as
            :func:`vae_core.models.build` does.
        head: the model's.

    Attributes:
        layers: parameters that start as their layers do.
        constant: parameters that ``__init__`` sets to the same values under every seed.
        drawn: parameters that ``__init__`` draws.

    Raises:
        ContractError: a module defines ``reset_parameters()`` and does not start by it.
    """

    def __init__(self, make: Callable[[Head | None, int], VAE], head: Head | None) -> None:
        self._make, self._head = make, head
        other = make(head, 1)
        with private_randomness(), _recorded(other) as resets:
            self._model = make(head, 0)
        untouched = {n for n in named_tensors(self._model) if resets.left(self._model, n)}
        drawn = self._differing = _differing(self._model, other)
        parameters = [name for name, _ in self._model.named_parameters()]
        self.layers = [name for name in parameters if name in untouched]
        authors = [name for name in parameters if name not in untouched]
        for name in authors:
            resets.require_called(self._model, name)
        self.constant = [name for name in authors if name not in drawn]
        self.drawn = [name for name in authors if name in drawn]
        tensors = named_tensors(self._model)
        varying = drawn - untouched
        copied = any(_copies(tensors, name, self.layers) for name in varying)
        self._built_whole = bool(self.drawn or (varying and self.constant) or copied)
        self._kept = {n: t.detach().clone() for n, t in tensors.items() if n not in untouched}

    def __str__(self) -> str:
        parts = [
            (self.layers, "as their layers do", False),
            (self.constant, "as __init__ sets them, equal for all seeds", True),
            (self.drawn, "as __init__ draws them, under the trial's seed", True),
        ]
        found = []
        for names, how, named in parts:
            if names:
                which = ", ".join([*names[:_NAMED], *(["..."] if len(names) > _NAMED else [])])
                found.append(f"{len(names)} {how}" + (f" ({which})" if named else ""))
        return "parameters start: " + "; ".join(found)

    def model(self, seed: int) -> VAE:
        """The model, on the CPU, as a member of ``seed`` starts; it is shared between calls."""
        if self._built_whole:
            values = self._drawn(derive(seed, "init"))
        else:
            values = self._kept
            initialise(self._model, seed, self.layers)
        with torch.no_grad():
            for name, tensor in named_tensors(self._model).items():
                if name in values:
                    tensor.copy_(values[name])
        restart(self._model, seed)
        return self._model

    def _drawn(self, seed: int) -> dict[str, Tensor]:
        """All tensors of a build under ``seed``."""
        values = dict(named_tensors(self._make(self._head, seed)))
        if self._head is not None:
            plain = named_tensors(self._make(None, seed))
            for name in plain.keys() & values.keys() & self._differing:
                if plain[name].shape == values[name].shape:
                    values[name] = plain[name]
        return values


def _copies(tensors: Mapping[str, Tensor], name: str, parameters: Sequence[str]) -> bool:
    """Whether the tensor ``name`` is equal to one of these ``parameters``."""
    found = tensors[name]
    return any(
        found.shape == tensors[other].shape and torch.equal(found, tensors[other])
        for other in parameters
    )


def named_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Every parameter and buffer of ``model``, one that is used twice under its first name."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


class _Reset(NamedTuple):
    """A tensor of a module, and its value right after the module's ``reset_parameters()``."""

    kind: type[nn.Module]
    name: str
    tensor: Tensor
    value: Tensor


class _Resets:
    """What the calls of ``reset_parameters()`` during a build left."""

    def __init__(self) -> None:
        # By id, which stays theirs as the entries keep them alive.
        self._modules: dict[int, nn.Module] = {}
        self._last: dict[int, _Reset] = {}

    def note(self, module: nn.Module) -> None:
        """Remember the values of ``module``, which has just been reset."""
        self._modules[id(module)] = module
        for name, tensor in _own(module).items():
            if tensor is not None:
                value = tensor.detach().clone()
                self._last[id(tensor)] = _Reset(type(module), name, tensor, value)

    def left(self, model: nn.Module, name: str) -> bool:
        """Whether the tensor ``name`` is as the ``reset_parameters()`` of its module left it."""
        owner, leaf, tensor = _owned(model, name)
        if not callable(getattr(owner, "reset_parameters", None)):
            return False
        if id(tensor) in self._last:
            return torch.equal(self._last[id(tensor)].value, tensor)
        if id(owner) in self._modules:
            return False  # it was put in the place of what was reset
        return any(  # the module may be the copy of one that was reset
            (last.kind, last.name) == (type(owner), leaf)
            and last.value.shape == tensor.shape
            and torch.equal(last.value, tensor)
            for last in self._last.values()
        )

    def require_called(self, model: nn.Module, name: str) -> None:
        """Refuse a module that defines ``reset_parameters()`` and has not called it.

        Whether it starts by that method or as it is cannot be told. Torch's layers are what
        they are: they leave it out where they are given values, or are unpickled.
        """
        owner, leaf, _ = _owned(model, name)
        reset = getattr(type(owner), "reset_parameters", None)
        if reset is None or any(type(module) is type(owner) for module in self._modules.values()):
            return  # the module called it, or is the copy of one that did
        if reset.__module__.startswith(_CALLED_BY_INIT):
            return
        kind = type(owner).__name__
        raise ContractError(
            f"the start of parameter '{name}' is ambiguous: its module ({kind}) defines "
            f"reset_parameters(), and was made without calling it",
            where=f"model {type(model).__name__}",
            remedy=f"call self.reset_parameters() at the end of the __init__ of {kind}, and "
            f"set '{leaf}' after that if it is to start otherwise",
        )


@contextmanager
def _recorded(model: nn.Module) -> Iterator[_Resets]:
    """Record what ``reset_parameters()`` leaves, for every class of module in ``model``."""
    found = _Resets()

    def recording(reset: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(reset)
        def wrapped(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
            result = reset(self, *args, **kwargs)
            found.note(self)
            return result

        return wrapped

    defining = {
        kind
        for module in model.modules()
        for kind in type(module).__mro__
        if "reset_parameters" in vars(kind)
    }
    originals: dict[Any, Any] = {kind: vars(kind)["reset_parameters"] for kind in defining}
    try:
        for kind, reset in originals.items():
            kind.reset_parameters = recording(reset)
        yield found
    finally:
        for kind, reset in originals.items():
            kind.reset_parameters = reset


def _owned(model: nn.Module, name: str) -> tuple[nn.Module, str, Tensor]:
    """The module that has the tensor ``name``, and what it calls it."""
    path, _, leaf = name.rpartition(".")
    owner = model.get_submodule(path)
    return owner, leaf, _own(owner)[leaf]


def _own(module: nn.Module) -> dict[str, Any]:
    """Parameters and buffers of ``module`` itself; some may be None."""
    return {**module._parameters, **module._buffers}


def _differing(one: nn.Module, other: nn.Module) -> set[str]:
    """Names of tensors that two builds of a model do not have in common."""
    there = named_tensors(other)
    return {
        name
        for name, tensor in named_tensors(one).items()
        if name not in there
        or there[name].shape != tensor.shape
        or not torch.equal(tensor, there[name])
    }
