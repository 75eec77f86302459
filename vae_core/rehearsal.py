"""A trial in small: all that a model goes through in a study, on a few random images.

:func:`vae_core.models.check_model` checks a model by itself; this runs it where trials run.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vae_core.bank import Bank, Checkpoint, Member
from vae_core.batches import TrainingImages
from vae_core.errors import ContractError, UserError
from vae_core.evaluation import EvaluationSet, measure
from vae_core.export import Plan, TrainedModel, load, state, write
from vae_core.generation import sample_prior
from vae_core.geometry import ImageShape
from vae_core.likelihoods import SURE, Likelihood
from vae_core.models import MODELS, VAE, Head, build, evaluating, named_tensors
from vae_core.models.gated import conditioned, fold, gates_of
from vae_core.precision import Precision

T = TypeVar("T")

WIDTHS = (2, 1)
"""Rows of a bank: tensors stacked under ``vmap``, and the model itself."""
IMAGES, BATCH, STEPS = 8, 4, 2
"""Images in all, images a step, and steps between two reports."""
FAR, NUDGE = 100.0, 0.1
"""Standard deviations of latents far out, and of what is added to parameters: a layer may start at
zero, and show nothing of where it leads."""
_BALANCERS: Mapping[Head | None, str] = {
    None: "learned_sigma",
    "image": "predicted_image_sigma",
    "pixel": "predicted_pixel_sigma",
}
_STATE = (
    "register what changes in training as a buffer and change it in place, so that every row of a "
    "bank, every checkpoint and the exported model have it"
)


def rehearse(
    settings: Mapping[str, Any],
    shape: ImageShape,
    head: Head | None = None,
    precision: Precision = "float32",
    widths: Sequence[int] = WIDTHS,
    *,
    gated: bool = False,
) -> None:
    """Take a model that passes :func:`vae_core.models.check_model` through a trial, on the CPU.

    The clauses, in the order they are checked:

    1. All its state is in its parameters and buffers: two models that have equal ones give equal
       results, whatever one of them has been trained on.
    2. It trains, reports and is evaluated, in a bank of several rows and in a bank of one.
    3. From a checkpoint it goes on as without one, to the last bit.
    4. Exported and loaded it gives equal images.

    With gates it is trained by `multi_rate`, and first:

    0. At one beta it is, to rounding, the model without gates that gates are folded into.

    Args:
        settings: of the model, as for :func:`vae_core.models.build`.
        shape: of the study's images.
        head: of the decoder.
        precision: of the study's training.
        widths: of the banks it is tried in.
        gated: whether its layers are gated.

    Raises:
        ContractError: names the first clause that is broken and what to do about it.
    """
    rehearsal = _Rehearsal(settings, shape, head, precision, gated)
    if gated:
        rehearsal.gates()
    rehearsal.state()
    for width in widths:
        rehearsal.trial(width)


def check_probabilities(
    settings: Mapping[str, Any], shape: ImageShape, head: Head | None, likelihood: Likelihood
) -> None:
    """Check that ``likelihood`` can take a decoder's means for probabilities, of any latents.

    Raises:
        ContractError: there are means outside [0, 1].
    """
    model, generator = build(settings, shape, head), torch.Generator().manual_seed(0)
    with evaluating(model):
        for parameter in model.parameters():
            parameter.add_(NUDGE * torch.randn(parameter.shape, generator=generator))
        means = model.decode(FAR * torch.randn(IMAGES, model.latent, generator=generator))
    low, high = float(means.min()), float(means.max())
    if low < -SURE or high > 1 + SURE:
        raise ContractError(
            f"{type(model).__name__} decodes means from {low:.3g} to {high:.3g}, and the "
            f"likelihood {likelihood} takes them for probabilities",
            where="model contract",
            remedy="end the decoder in a sigmoid (vae_core.models.layers.Sigmoid), or use "
            "balancers of other likelihoods",
        )


@dataclass(frozen=True)
class _Rows:
    """Random images."""

    pixels: npt.NDArray[np.uint8]
    index: npt.NDArray[np.int64]


class _Report(NamedTuple):
    """A member at a report."""

    checkpoint: Checkpoint
    images: Tensor
    """Its reconstructions and samples, [N, C, H, W]."""


@dataclass(frozen=True)
class _Rehearsal:
    """The clauses of :func:`rehearse`."""

    settings: Mapping[str, Any]
    shape: ImageShape
    head: Head | None
    precision: Precision
    gated: bool

    def gates(self) -> None:
        gated, plain = (build(self.settings, self.shape, gated=gated) for gated in (True, False))
        values, u = named_tensors(gated), torch.tensor(0.5)
        with torch.no_grad():
            for name, tensor in named_tensors(plain).items():
                tensor.copy_(values[name])
        gates = gates_of(gated)
        fold(plain, gates, values, u)
        x, noise = next(self._images(gated).batches(gated.latent))
        with evaluating(gated), evaluating(plain), conditioned(gates.values(), u):
            pairs = zip(gated(x, noise), plain(x, noise), strict=True)
            apart = [a for a, b in pairs if a is not None and not torch.allclose(a, b, 1e-3, 1e-5)]
        if apart:
            raise self._broken(
                "cannot be gated: scaling the weight and bias of its layers is not scaling what "
                "they give",
                "let each layer give a linear function of its weight and bias, and use its "
                "parameters in its own forward only; or use a balancer that does not gate the "
                "model (all but multi_rate and gates_frozen)",
            )

    def state(self) -> None:
        trained, other = (build(self.settings, self.shape, self.head) for _ in range(2))
        images = self._images(trained)
        x, noise = next(images.batches(trained.latent))
        trained.train()
        for part in (slice(0, BATCH), slice(BATCH, None)):
            trained(x[part], noise[part])
        with torch.no_grad():
            for name, tensor in named_tensors(trained).items():
                named_tensors(other)[name].copy_(tensor)
        with evaluating(trained), evaluating(other):
            pairs = [("evaluation", trained(x, noise), other(x, noise))]
        with torch.no_grad():
            pairs += [("training", trained(x, noise), other.train()(x, noise))]
        for mode, one, same in pairs:
            if not all(_equal(a, b) for a, b in zip(one, same, strict=True) if a is not None):
                raise self._broken(
                    f"keeps state outside of its parameters and buffers: one that was trained and "
                    f"one that was given all of its parameters and buffers differ in {mode} mode",
                    _STATE,
                )

    def trial(self, width: int) -> None:
        """A trial in a bank of ``width`` rows, and its end again from a checkpoint."""
        where = f"in a bank of {width} rows" if width > 1 else "in a bank of one row"
        bank = self._bank(width, where)
        middle = self._train(bank, where)
        end = self._train(bank, where)
        self._export(bank.model(0), end[0].images)
        resumed = self._train(self._bank(width, where, middle), where)
        for straight, again in zip(end, resumed, strict=True):
            differing = [
                name
                for name, value in straight.checkpoint.items()
                if not _equal(value, again.checkpoint[name])
            ]
            if differing or not _equal(straight.images, again.images):
                raise self._broken(
                    f"goes on from a checkpoint otherwise than without one, {where}: in "
                    f"{differing[0] if differing else 'what it decodes'}",
                    _STATE,
                )

    def _bank(self, width: int, where: str, begun: list[_Report] | None = None) -> Bank:
        """A full bank: of new members, or of those of ``begun``, read from their checkpoints."""

        def filled() -> Bank:
            images = TrainingImages(self._rows, torch.device("cpu"))
            bank = Bank(
                self.settings,
                images,
                self.shape,
                width=width,
                batch_size=BATCH,
                head=self.head,
                gated=self.gated,
                precision=self.precision,
            )
            rule = "multi_rate" if self.gated else _BALANCERS[self.head]
            for seed in range(width):
                member = Member(seed, lr=1e-4, balancer=rule, hyper={}, steps=STEPS)
                bank.admit(member, _reread(begun[seed].checkpoint) if begun else None)
            return bank

        return self._attempt(f"be put {where}", filled)

    def _train(self, bank: Bank, where: str) -> list[_Report]:
        """Train all members up to a report, and make it."""
        remedy = ""
        if bank.width == 1 and self._kind.channels_last:
            remedy = (
                "its weights are stored channels last there: use reshape or nn.Flatten in place "
                "of view, or leave out channels_last = True"
            )
        self._attempt(f"train {where}", lambda: bank.train(STEPS), remedy)
        return [
            self._attempt(f"report {where}", partial(self._report, bank, row))
            for row in range(bank.width)
        ]

    def _report(self, bank: Bank, row: int) -> _Report:
        bank.segment(row)
        model = bank.model(row)
        images = self._images(model)
        measure(model, images.batches(model.latent))
        return _Report(bank.checkpoint(row), self._decoded(TrainedModel(model)))

    def _export(self, model: VAE, expected: Tensor) -> None:
        """Export ``model``, and load it."""

        def loaded() -> Tensor:
            with tempfile.TemporaryDirectory() as scratch:
                folder = Path(scratch) / "model"
                plan = Plan(self.settings, self.shape, self.head)
                write(folder, plan, state(model), None, {})
                return self._decoded(load(folder, trust=True))

        found = self._attempt("be exported and loaded", loaded, "keep nothing but tensors in it")
        if not _equal(found, expected):
            raise self._broken("gives other images once it is exported and loaded", _STATE)

    def _decoded(self, model: TrainedModel) -> Tensor:
        pixels = torch.from_numpy(self._rows.pixels).view(-1, *self.shape.chw)
        return torch.cat([model.reconstruct(pixels), sample_prior(model.vae, BATCH, seed=0)])

    def _images(self, model: VAE) -> EvaluationSet:
        return EvaluationSet(self._rows, "validation", count=IMAGES, shape=model.shape)

    @property
    def _kind(self) -> type[VAE]:
        return MODELS.get(str(self.settings["name"]))

    @property
    def _rows(self) -> _Rows:
        generator = np.random.default_rng(0)
        pixels = generator.integers(0, 256, (IMAGES, self.shape.dims), dtype=np.uint8)
        return _Rows(pixels, np.arange(IMAGES))

    def _attempt(self, what: str, action: Callable[[], T], remedy: str = "") -> T:
        try:
            return action()
        except UserError as error:
            raise self._broken(f"cannot {what}: {error.what}", error.remedy) from error
        except Exception as error:
            what = f"cannot {what}: {type(error).__name__}: {error}"
            raise self._broken(what, remedy or "correct the model") from error

    def _broken(self, what: str, remedy: str) -> ContractError:
        name = self._kind.__name__ + (" with a head" if self.head else "")
        name += " with gates" if self.gated else ""
        return ContractError(f"{name} {what}", where="model contract", remedy=remedy)


def _reread(checkpoint: Checkpoint) -> Checkpoint:
    """``checkpoint`` as it comes from its file."""
    file = io.BytesIO()
    torch.save(checkpoint, file)
    file.seek(0)
    found: Checkpoint = torch.load(file, weights_only=True)
    return found


def _equal(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors are equal to the last bit; nan equals nan."""
    return a.shape == b.shape and bool(((a == b) | (a.isnan() & b.isnan())).all())
