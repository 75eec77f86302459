"""The bank: K members trained in one process as the K rows of stacked tensors.

A member is a row of every stacked tensor: parameters, buffers, optimiser moments, balancer state
and learned scalars. Admitting copies a row in, releasing frees it, a checkpoint is a row. With
K >= 2 the forward pass is ``vmap`` of ``functional_call`` over the rows; with K = 1 it is the
module itself on row 0, so that a single member trains as fast as a plain loop. A bank always runs
at its full width, empty rows included: its width is part of the numerics key, and under one key a
member's numbers depend neither on its row nor on its neighbours.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from vae_core.balancer_groups import Family, drawn, losses, numbered
from vae_core.balancers import BALANCERS, Terms
from vae_core.batches import Inputs, Place, Tape, TrainingImages, to_unit
from vae_core.cuda_graphs import Recorder
from vae_core.errors import ContractError
from vae_core.geometry import ImageShape
from vae_core.measuring import OPTIONAL, terms_of
from vae_core.members import Held, Member, Segment
from vae_core.models import VAE, Head, Start, build, named_tensors
from vae_core.models.gated import conditioned, fold, gates_of
from vae_core.optim import RowAdam
from vae_core.precision import Precision

__all__ = ["Bank", "Checkpoint", "Member", "Segment", "replayed_on"]

Checkpoint = dict[str, Tensor]
_ACCOUNT = ("step", "history")
"""Entries of a checkpoint that are not rows of the stacks."""


class _Recording(NamedTuple):
    """A step to be replayed, and the terms that the last replay measured."""

    step: Callable[[], None]
    terms: dict[str, Tensor]


class Bank:
    """K rows of one model shape on one device.

    Args:
        model: settings of the model (``name``, ``latent``, ...), see :func:`vae_core.models.build`.
        images: the training images, on the device.
        shape: the images' shape.
        width: K, the number of rows.
        batch_size: B, images a member sees a step.
        dequantize: add uniform noise one grey level wide to every training image.
        head: the decoders' head, the same in every row; None: balancers set the noise variance.
        gated: the models are gated, in every row (:mod:`vae_core.models.gated`).
        precision: of matrix products and convolutions in training.

    Attributes:
        recording_seconds: spent so far, within :meth:`train`, on recording steps.
    """

    def __init__(
        self,
        model: Mapping[str, Any],
        images: TrainingImages,
        shape: ImageShape,
        *,
        width: int,
        batch_size: int,
        dequantize: bool = False,
        head: Head | None = None,
        gated: bool = False,
        precision: Precision = "float32",
    ) -> None:
        self.shape, self.width, self.batch_size = shape, width, batch_size
        self.head, self.gated = head, gated
        self.device = images.device
        self._images = images
        self._multiplying = _multiplying(self.device, precision)
        self._module = build(model, shape, head, gated=gated).to(self.device).train()
        self._gates = gates_of(self._module)
        self._evaluated = build(model, shape, head).to(self.device).eval()
        self._start = Start(partial(build, model, shape, gated=gated), head)
        self.latent = self._module.latent
        self._params = {
            n: _stack(p, width, self._layout(p)) for n, p in self._module.named_parameters()
        }
        self._buffers = {n: _stack(b, width) for n, b in self._module.named_buffers()}
        self._stacks = {**self._params, **self._buffers}
        self._leaves = self._make_leaves()
        self._replayed = replayed_on(self.device)
        self._adam = RowAdam(self._params, replayed=self._replayed)
        dims = shape.dims if dequantize else None
        self._tape = Tape(width, batch_size, self.latent, dims, self.device, gated=gated)
        self._rows: list[Held | None] = [None] * width
        self._families: dict[str, Family] = {}
        self._wanted: tuple[str, ...] = ()
        """Optional terms that some family declares."""
        self._last: Terms | None = None
        self._record, self._recordings = Recorder(), dict[tuple[Any, ...], _Recording]()
        self._measured: dict[str, Tensor] = {}
        """What a replay measures, whichever: only the last one's is read."""
        self.recording_seconds = 0.0
        self._place = torch.zeros(1, dtype=torch.int64, device=self.device)
        self._log = torch.zeros(self._tape.steps, 3, width, device=self.device)

    # -- members -----------------------------------------------------------------------------

    @property
    def free(self) -> int:
        """Rows that hold no member."""
        return self._rows.count(None)

    def active(self) -> list[int]:
        """Rows that hold a member."""
        return [i for i, row in enumerate(self._rows) if row is not None]

    @property
    def unrecorded(self) -> str:
        """Why steps are made one by one that should be replayed; empty where none is."""
        return self._record.problem

    def step(self, row: int) -> int:
        """Steps the member in ``row`` has made."""
        return self._row(row).step

    def admit(self, member: Member, checkpoint: Checkpoint | None = None) -> int:
        """Put ``member`` into a free row, fresh or from ``checkpoint``; return the row.

        Raises:
            ContractError: an unknown balancer, one that needs another head than the bank's, or
                gates, or a checkpoint of another model or balancer.
            RuntimeError: no row is free.
        """
        if not self.free:
            raise RuntimeError("the bank is full")
        row = self._rows.index(None)
        step = 0 if checkpoint is None else int(checkpoint["step"])
        family = self._family(member.balancer)
        family.admit(row, member, step)
        self._adam.reset(row, step)
        history = []
        if checkpoint is None:
            self._load_row(row, self._start.model(member.seed))
        else:
            tensors = self._member_tensors(family)
            shapes = {name: stack[row].shape for name, stack in tensors.items()}
            if shapes != {n: v.shape for n, v in checkpoint.items() if n not in _ACCOUNT}:
                family.release(row)
                raise ContractError("the checkpoint is of another model or balancer")
            for name, stack in tensors.items():
                stack[row].copy_(checkpoint[name])
            history = [checkpoint["history"]] if len(checkpoint["history"]) else []
        self._rows[row] = Held.of(member, self._images, self.batch_size, step, history)
        self._reschedule()
        return row

    def release(self, row: int) -> None:
        """Free ``row``; what it held is overwritten by the next admission."""
        self._family(self._row(row).member.balancer).release(row)
        self._rows[row] = None
        self._reschedule()

    def checkpoint(self, row: int) -> Checkpoint:
        """A copy on the CPU of everything needed to resume ``row``; plain tensors only.

        It includes the steps since the last segment (``history`` [n, 3]), so that a resumed member
        ends its segment as if it had never left.
        """
        held = self._row(row)
        tensors = self._member_tensors(self._family(held.member.balancer))
        saved = {name: stack[row].detach().clone().cpu() for name, stack in tensors.items()}
        history = torch.cat(held.history) if held.history else torch.zeros(0, 3)
        return {**saved, "step": torch.tensor(held.step), "history": history}

    def betas(self, row: int) -> list[float]:
        """The betas among which the trained member's is chosen, ascending; none without gates."""
        member = self._row(row).member
        return self._family(member.balancer).betas(member) if self.gated else []

    def model(self, row: int, beta: float | None = None) -> VAE:
        """The member in ``row`` as a module in evaluation mode, its values copied.

        A gated one as the model without gates that it is at ``beta``, by default at the middle
        one of :meth:`betas`.

        The module is shared between calls. Copies are freshly allocated, so their alignment,
        and with it the kernels chosen, does not depend on the row.
        """
        with torch.no_grad():
            for name, value in named_tensors(self._evaluated).items():
                value.copy_(self._stacks[name][row])
        if self.gated:
            betas = self.betas(row)
            family = self._family(self._row(row).member.balancer)
            u = family.u_of(row, betas[len(betas) // 2] if beta is None else beta)
            fold(self._evaluated, self._gates, {n: p[row] for n, p in self._params.items()}, u)
        return self._evaluated

    # -- training -----------------------------------------------------------------------------

    def train(self, steps: int) -> None:
        """Train every member for ``steps`` steps."""
        found: list[Tensor] = []
        while steps:
            rows = {row: self._row(row) for row in self.active()}
            if any(held.step % held.halving == 0 for held in rows.values()):
                self._reschedule()
            ahead = min(held.halving - held.step % held.halving for held in rows.values())
            count = int(min(steps, self._tape.steps, ahead))
            places = {r: Place(held.order, held.member.seed, held.step) for r, held in rows.items()}
            self._tape.fill(places, count)
            found.append(self._replay(count) if self._replayed else self._run(count))
            for held in rows.values():
                held.step += count
            steps -= count
        if found:
            history = torch.cat(found).cpu()
            for row in self.active():
                self._row(row).history.append(history[..., row])

    def segment(self, row: int) -> Segment:
        """The member's training since its last segment; call it after a step."""
        held = self._row(row)
        assert self._last is not None
        return held.segment(*self._family(held.member.balancer).balance_of(row, self._last))

    def seconds_per_image(self, member: Member, steps: int = 10) -> float:
        """Device seconds per image at full width, measured over ``steps`` steps while empty.

        On a CPU it is this thread's CPU time, which excludes other processes on the core.
        Elsewhere it is over as many as are prepared at a time, if that is more: preparing costs the
        same for one step as for all.
        """
        clock = time.thread_time if self.device.type == "cpu" else time.perf_counter
        rows = [self.admit(member) for _ in range(self.width)]
        self.train(2)
        if self._replayed:
            steps = max(steps, self._tape.steps)
        _synchronise(self.device)
        start = clock()
        self.train(steps)
        _synchronise(self.device)
        elapsed = clock() - start
        for row in rows:
            self.release(row)
        return elapsed / (steps * self.batch_size * self.width)

    def _run(self, steps: int) -> Tensor:
        """Run the steps on the tape; return loss, S and R of each [steps, 3, K]."""
        families = [family for family in self._families.values() if family.rows]
        log = []
        for n in numbered(steps, families):
            loss, self._last = self._step(families, self._tape.at(n))
            log.append((loss, self._last.squared_error, self._last.kl.sum(dim=2)))
        loss, error, rate = (torch.stack(values) for values in zip(*log, strict=True))
        return torch.stack([loss, error.mean(dim=2), rate.mean(dim=2)], dim=1)

    def _replay(self, steps: int) -> Tensor:
        """The same by replaying a recorded step: one per combination of families and rates."""
        families = [family for family in self._families.values() if family.rows]
        plan = self._wanted, self._adam.together, *(family.plan() for family in families)
        self._place.zero_()
        if plan not in self._recordings:
            start = time.perf_counter()
            self._recordings[plan] = self._recording(families)
            _synchronise(self.device)
            self.recording_seconds += time.perf_counter() - start
        recording = self._recordings[plan]
        for _ in numbered(steps, families):
            recording.step()
        self._last = Terms(**recording.terms)
        return self._log[:steps].clone()

    def _recording(self, families: list[Family]) -> _Recording:
        """A step that reads its place on the tape, and where to write, from the device."""
        measured = dict[str, Tensor]()

        def step() -> None:
            loss, terms = self._step(families, self._tape.at(self._place))
            for name, term in terms.given().items():
                if name not in self._measured:
                    self._measured[name] = torch.empty_like(term)
                measured[name] = self._measured[name].copy_(term)
            error, rate = terms.squared_error.mean(dim=1), terms.kl.sum(dim=2).mean(dim=1)
            log = torch.stack([loss, error, rate])
            self._log.index_copy_(0, self._place, log.unsqueeze(0))
            self._place += 1

        changes = [*self._params.values(), *self._buffers.values(), *self._adam.moving()]
        changes += [tensor for family in families for tensor in family.moving()]
        return _Recording(self._record(step, [*changes, self._place, self._log]), measured)

    def _step(self, families: list[Family], inputs: Inputs) -> tuple[Tensor, Terms]:
        """One step of the members of ``families``: their losses [K] and the measured terms."""
        picked, noise, offsets, draws = inputs
        pixels = self._images.pixels.index_select(0, picked.flatten())
        x = to_unit(pixels, None if offsets is None else offsets.flatten(0, 1))
        u = [] if draws is None else [drawn(families, draws)]
        with self._multiplying:
            terms = self._forward(x.view(*picked.shape, *self.shape.chw), noise, *u)
        terms = replace(terms, u=u[0]) if u else terms
        found = losses(families, terms)
        leaves = {**self._leaves, **{n: v for f in families for n, v in f.leaves().items()}}
        # The gradient of the sum in each member's loss is 1, so members stay independent. Passing
        # grad_outputs instead makes torch load SymPy, half a second of an engine's start.
        gradient = torch.autograd.grad(found.weighted.sum(), list(leaves.values()))
        gradients = dict(zip(leaves, gradient, strict=True))
        self._adam.step({name: self._by_row(gradients[name]) for name in self._leaves})
        terms = terms.map(Tensor.detach)
        loss = noise.new_zeros(self.width)
        with torch.no_grad():
            for family in families:
                family.advance(gradients)
            loss.index_copy_(0, found.rows, found.values)
        return loss, terms

    def _forward(self, x: Tensor, noise: Tensor, *u: Tensor) -> Terms:
        """Measure images x [K, B, C, H, W] under latent noise [K, B, Z], gates at u [K, B]."""

        def measure(model: Any, image: Tensor, noise: Tensor, *u: Tensor) -> tuple[Tensor, ...]:
            with conditioned(self._gates.values(), *u):
                out = model(image, noise)
            return terms_of(image, out, noise, self._wanted)

        if self.width == 1:
            found = measure(self._module, x[0], noise[0], *(one[0] for one in u))
            return self._named(tuple(value.unsqueeze(0) for value in found))

        def one(params: Any, buffers: Any, *inputs: Tensor) -> tuple[Tensor, ...]:
            def model(*inputs: Tensor) -> Any:
                return functional_call(self._module, (params, buffers), inputs)

            return measure(model, *inputs)

        return self._named(vmap(one)(self._leaves, self._buffers, x, noise, *u))

    def _named(self, found: tuple[Tensor, ...]) -> Terms:
        return Terms(*found[:2], **dict(zip(self._wanted, found[2:], strict=True)))

    # -- rows of the stacks ---------------------------------------------------------------------

    def _make_leaves(self) -> dict[str, Tensor]:
        """The tensors gradients are taken for: the stacks, or with K = 1 the module's own."""
        if self.width > 1:
            return {n: stack.requires_grad_() for n, stack in self._params.items()}
        leaves: dict[str, Tensor] = {n: nn.Parameter(s[0]) for n, s in self._params.items()}
        rows = {**leaves, **{n: s[0] for n, s in self._buffers.items()}}
        row_of = {id(tensor): rows[n] for n, tensor in named_tensors(self._module).items()}
        parameters = self._module.named_parameters(remove_duplicate=False)
        buffers = self._module.named_buffers(remove_duplicate=False)
        for name, tensor in [*parameters, *buffers]:
            path, _, leaf = name.rpartition(".")
            setattr(self._module.get_submodule(path), leaf, row_of[id(tensor)])
        return leaves

    def _layout(self, parameter: Tensor) -> torch.memory_format:
        """Memory layout of a row of a parameter's stack; ``vmap`` lays out images by itself."""
        last = self.width == 1 and self._module.channels_last and parameter.dim() == 4
        return torch.channels_last if last else torch.contiguous_format

    def _by_row(self, gradient: Tensor) -> dict[int, Tensor]:
        # The optimiser's kernel reads memory in order and ignores strides.
        if self.width == 1:
            return {0: gradient.contiguous(memory_format=self._layout(gradient))}
        return dict(enumerate(gradient.contiguous().unbind(0)))

    def _load_row(self, row: int, source: VAE) -> None:
        with torch.no_grad():
            for name, value in named_tensors(source).items():
                self._stacks[name][row].copy_(value)

    def _member_tensors(self, family: Family) -> dict[str, Tensor]:
        """Every stack that holds a part of a member of ``family``, by checkpoint name."""
        named = {
            "parameter": {n: p.detach() for n, p in self._params.items()},
            "buffer": self._buffers,
            "exp_avg": self._adam.exp_avg,
            "exp_avg_sq": self._adam.exp_avg_sq,
            "balancer": family.tensors(),
        }
        return {f"{kind}/{n}": t for kind, stacks in named.items() for n, t in stacks.items()}

    def _row(self, row: int) -> Held:
        held = self._rows[row]
        if held is None:
            raise RuntimeError(f"row {row} holds no member")
        return held

    def _family(self, name: str) -> Family:
        if name not in self._families:
            rule = BALANCERS.get(name)
            if rule.gated != self.gated:
                raise ContractError(
                    f"balancer '{name}' needs models {'with' if rule.gated else 'without'} gates",
                    remedy=f"open a bank with gated={rule.gated}",
                )
            if rule.head != self.head:
                raise ContractError(
                    f"balancer '{name}' needs decoders with head {rule.head}, "
                    f"the bank's have {self.head}",
                    remedy="open a bank with that head",
                )
            balancer = rule(self.shape, self.latent, self._images.count, self.batch_size)
            self._families[name] = Family(
                balancer, self.width, self.device, replayed=self._replayed
            )
            declared = {term for f in self._families.values() for term in f.balancer.terms}
            self._wanted = tuple(sorted(declared & OPTIONAL.keys()))
        return self._families[name]

    def _reschedule(self) -> None:
        rows = {row: self._row(row) for row in self.active()}
        shares = {row: 0.5 ** (held.step // held.halving) for row, held in rows.items()}
        self._adam.schedule({row: held.member.lr * shares[row] for row, held in rows.items()})
        for family in self._families.values():
            family.schedule(shares)


def _stack(
    value: Tensor, width: int, layout: torch.memory_format = torch.contiguous_format
) -> Tensor:
    if width == 1:
        return torch.zeros_like(value, memory_format=layout).unsqueeze(0)
    return torch.zeros(width, *value.shape, dtype=value.dtype, device=value.device)


def _multiplying(device: torch.device, precision: Precision) -> AbstractContextManager[Any]:
    """A context in which forward passes, and so their backward passes, use ``precision``."""
    if precision == "float32":
        return nullcontext()
    # Without the cache, which is for weights used more than once a step.
    return torch.autocast(device.type, torch.bfloat16, cache_enabled=False)


def replayed_on(device: torch.device) -> bool:
    """Whether steps are recorded and replayed while members come and go: on GPUs."""
    return device.type == "cuda"


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
