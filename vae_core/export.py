"""A trained model as a folder of its own: weights and settings, and no code.

    from vae_core.export import load
    model = load("FOLDER")
    x, new = model.reconstruct(images), model.sample(16, seed=0)

`model.json` describes the model, `weights.pt` and `second_stage.pt` hold tensors and are read
by torch's restricted unpickler, so that a folder from elsewhere cannot run anything.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from vae_core.batches import to_unit
from vae_core.errors import UserError, nearest
from vae_core.generation import (
    SecondStage,
    SecondStageSettings,
    decode_all,
    posteriors,
    sample_prior,
)
from vae_core.generation.latents import BLOCK
from vae_core.geometry import ImageShape
from vae_core.models import MODELS, VAE, Head, build

Generator = Literal["prior", "second_stage"]

FORMAT = 1
SETTINGS, WEIGHTS, SECOND_STAGE = "model.json", "weights.pt", "second_stage.pt"


class ExportError(UserError):
    """A model that cannot be exported, loaded or used in this way."""


@dataclass(frozen=True)
class Plan:
    """What a trained model is built from."""

    model: Mapping[str, Any]
    """``{"name": ..., "latent": ..., ...settings}``, as for :func:`vae_core.models.build`."""
    shape: ImageShape
    head: Head | None = None
    sigma2: float | None = None
    """The variance of Gaussian noise that fits training images best; None: not known."""
    second_stage: Mapping[str, Any] | None = None
    """Fields of :class:`SecondStageSettings`; None: it has none."""

    @property
    def own(self) -> bool:
        """Whether the model is not built in: building it imports code from outside this package."""
        return not MODELS.built_in(str(self.model.get("name")))

    def build(
        self, weights: Mapping[str, Tensor], second: Mapping[str, Tensor] | None = None
    ) -> TrainedModel:
        """The model, with ``weights`` and those of its second stage, on the CPU.

        Raises:
            ContractError: it cannot be built.
            ExportError: the weights are not its.
        """
        vae = build(self.model, self.shape, self.head)
        _fill(vae, weights)
        stage = None
        if self.second_stage is not None:
            stage = SecondStage(vae.latent, SecondStageSettings(**self.second_stage))
            _fill(stage, second or {})
        return TrainedModel(vae, stage, self.sigma2)


class TrainedModel(nn.Module):
    """A trained VAE to encode, reconstruct and sample with: evaluation mode, no gradients.

    Images are [N, C, H, W], N >= 1: floats in [0, 1] (a byte v means (v + 1/2)/256), or
    uint8. They may be on any device; results are on the model's, which ``to`` moves.

    Attributes:
        sigma2: the variance of Gaussian noise that fits training images best, what the calibrated
            negative ELBO was computed with; None: not known.
    """

    def __init__(
        self, vae: VAE, second_stage: SecondStage | None = None, sigma2: float | None = None
    ) -> None:
        super().__init__()
        self.vae, self.second_stage, self.sigma2 = vae, second_stage, sigma2
        self.eval()

    @property
    def shape(self) -> ImageShape:
        """The images' shape."""
        return self.vae.shape

    @property
    def latent(self) -> int:
        """Z, the latent size."""
        return self.vae.latent

    @property
    def generators(self) -> list[Generator]:
        """Where samples can come from."""
        return ["prior"] if self.second_stage is None else ["prior", "second_stage"]

    def encode(self, images: Tensor) -> Tensor:
        """Posterior means [N, Z] of images.

        Raises:
            ExportError: these are no images of the model's shape and range.
        """
        return posteriors(self.vae, torch.split(self._unit(images), BLOCK)).mu

    def decode(self, z: Tensor) -> Tensor:
        """Decoder means [N, C, H, W] of latents [N, Z], N >= 1.

        Raises:
            ExportError: these are no latents of the model's size.
        """
        if z.dim() != 2 or z.shape[1] != self.latent or not len(z) or not z.is_floating_point():
            raise ExportError(
                f"latents are {_described(z)}",
                where="decode",
                remedy=f"give floats [N, {self.latent}]",
            )
        return decode_all(self.vae, z.float())

    def reconstruct(self, images: Tensor) -> Tensor:
        """Decoder means [N, C, H, W] of the posterior means of images; errors as for `encode`."""
        return self.decode(self.encode(images))

    def forward(self, images: Tensor) -> Tensor:
        """The same as :meth:`reconstruct`."""
        return self.reconstruct(images)

    def sample(self, count: int, seed: int = 0, generator: Generator = "prior") -> Tensor:
        """New images [count, C, H, W], decoded from draws of the prior or the second stage.

        The i-th latent depends on the weights, ``seed`` and i only.

        Raises:
            ExportError: ``count`` is no number above 0, or there is no such generator.
        """
        if generator not in self.generators:
            raise ExportError(
                f"this model has no generator '{generator}'",
                where="sample",
                remedy=nearest(generator, self.generators),
            )
        if count < 1:
            raise ExportError(
                f"count is {count!r}", where="sample", remedy="ask for one sample or more"
            )
        if generator == "second_stage" and self.second_stage is not None:
            return decode_all(self.vae, self.second_stage.sample(count, seed))
        return sample_prior(self.vae, count, seed)

    def _unit(self, images: Tensor) -> Tensor:
        """Images as the encoder takes them."""
        wanted = f"give floats in [0, 1] or uint8, [N, {', '.join(map(str, self.shape.chw))}]"
        if not isinstance(images, Tensor):
            raise ExportError(
                f"images are a {type(images).__name__}",
                where="images",
                remedy=f"make a tensor of them: {wanted}",
            )
        floats = images.is_floating_point()
        right = floats or images.dtype == torch.uint8
        if not right or tuple(images.shape[1:]) != self.shape.chw or not len(images):
            raise ExportError(f"images are {_described(images)}", where="images", remedy=wanted)
        images = images.to(next(self.vae.parameters()).device)
        if not floats:
            return to_unit(images)
        images = images.float()
        low, high = (float(end) for end in images.aminmax())
        if not (low >= 0 and high <= 1):  # nan is neither
            raise ExportError(
                f"images have values from {low:.4g} to {high:.4g}",
                where="images",
                remedy=f"{wanted}: bytes v as floats are (v + 0.5) / 256",
            )
        return images


def load(folder: Path | str, *, trust: bool = False) -> TrainedModel:
    """The model in ``folder``, on the CPU.

    Args:
        folder: what ``study export`` wrote.
        trust: import the class of a model that is not built in, by its name in `model.json`.
            Importing runs its code.

    Raises:
        ExportError: the folder holds no model, its files are damaged, or it is not a built-in
            one and ``trust`` is not given.
        ContractError: the model cannot be imported or built.
    """
    folder = Path(folder)
    plan, digests = _read(folder / SETTINGS)
    if plan.own and not trust:
        raise ExportError(
            f"the model '{plan.model.get('name')}' is not a built-in one: loading it would import "
            "that name and run its code",
            where=str(folder / SETTINGS),
            remedy="if you know the code and trust it: load(..., trust=True)",
        )
    found = [_whole(folder / file, digests) for file in _files(plan)]
    try:
        return plan.build(*found)
    except ExportError as error:
        raise ExportError(error.what, where=str(folder), remedy=error.remedy) from error


def picklable(model: TrainedModel) -> TrainedModel:
    """``model``, weights that a parametrization computes made plain: torch pickles no others."""
    for module in [*model.modules()]:
        for name in [*getattr(module, "parametrizations", {})]:
            parametrize.remove_parametrizations(module, name)
            module._load_state_dict_pre_hooks.clear()  # weight_norm's, which cannot be pickled
    return model


def write(
    folder: Path,
    plan: Plan,
    weights: Mapping[str, Tensor],
    second: Mapping[str, Tensor] | None,
    record: Mapping[str, Any],
) -> None:
    """Make ``folder`` and write a model into it; code of a person's own is not imported.

    Args:
        folder: is not there yet.
        plan: what the model is built from.
        weights: its :func:`state`.
        second: that of its second stage; None where it has none.
        record: JSON-able values to keep beside, which loading does not look at.

    Raises:
        ExportError: the weights are not those of the built-in model that ``plan`` names.
        ContractError: it cannot be built.
    """
    if not plan.own:
        plan.build(weights, second)
    folder.mkdir()
    for file, tensors in zip(_files(plan), (weights, second), strict=False):
        torch.save(dict(tensors or {}), folder / file)
    described = {
        "format": FORMAT,
        **asdict(plan),
        "shape": list(plan.shape.chw),
        "sha256": {file: _sha256(folder / file) for file in _files(plan)},
        "record": record,
    }
    (folder / SETTINGS).write_text(json.dumps(described, indent=2) + "\n")


def state(module: nn.Module) -> dict[str, Tensor]:
    """The state dict of ``module``, and the buffers that are not persistent."""
    found = module.state_dict()
    for name, buffer in module.named_buffers():
        found.setdefault(name, buffer.detach())
    return found


def read_tensors(file: Path) -> dict[str, Tensor]:
    """The tensors in ``file``, by name, on the CPU; whatever the file is, it runs no code.

    Raises:
        ExportError: it holds something else, or nothing that can be read.
    """
    try:
        found = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # unpicklers raise anything
        raise ExportError(
            f"these are no weights: {error}", where=str(file), remedy="restore the file from a copy"
        ) from error
    if not isinstance(found, dict) or not all(isinstance(t, Tensor) for t in found.values()):
        raise ExportError(
            "these are no weights", where=str(file), remedy="restore the file from a copy"
        )
    return found


def _read(file: Path) -> tuple[Plan, Mapping[str, str]]:
    """The settings in ``file``, and the SHA-256 of the files beside it."""
    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise ExportError(
            f"there is no model here: {error}",
            where=str(file),
            remedy="give a folder that `study export` wrote",
        ) from error
    try:
        if found["format"] != FORMAT:
            raise ExportError(
                f"the format is {found['format']!r}, and {FORMAT} is what this version reads",
                where=str(file),
                remedy="load it with the version that wrote it",
            )
        channels, height, width = (int(size) for size in found["shape"])
        plan = Plan(
            model=dict(found["model"]),
            shape=ImageShape(channels, height, width),
            head=found["head"],
            sigma2=found["sigma2"],
            second_stage=found["second_stage"],
        )
        if plan.head not in (None, *get_args(Head)):
            raise ValueError(f"head is {plan.head!r}")
        SecondStageSettings(**(plan.second_stage or {}))
        digests = {name: str(found["sha256"][name]) for name in _files(plan)}
    except (KeyError, TypeError, ValueError) as error:
        raise ExportError(
            f"these are no settings of a model: {type(error).__name__}: {error}",
            where=str(file),
            remedy="restore the file from a copy",
        ) from error
    return plan, digests


def _files(plan: Plan) -> list[str]:
    return [WEIGHTS] if plan.second_stage is None else [WEIGHTS, SECOND_STAGE]


def _whole(file: Path, digests: Mapping[str, str]) -> dict[str, Tensor]:
    """The tensors in ``file``, every bit as written: torch does not look at its own checksums."""
    try:
        digest = _sha256(file)
    except OSError as error:
        raise ExportError(
            f"it cannot be read: {error.strerror}",
            where=str(file),
            remedy="restore the file from a copy",
        ) from error
    if digest != digests[file.name]:
        raise ExportError(
            "the file is damaged or another model's: its SHA-256 is not the one in model.json",
            where=str(file),
            remedy="restore the folder from a copy",
        )
    return read_tensors(file)


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _fill(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    buffers = dict(module.named_buffers())
    passing = (buffers.keys() - module.state_dict().keys()) & weights.keys()
    try:
        module.load_state_dict({n: t for n, t in weights.items() if n not in passing})
        for name in passing:
            buffers[name].copy_(weights[name])
    except RuntimeError as error:
        raise ExportError(
            f"the weights are not those of its settings: {error}",
            where=type(module).__name__,
            remedy="restore weights and settings from one copy",
        ) from error


def _described(tensor: Tensor) -> str:
    return f"{tensor.dtype} {list(tensor.shape)}".removeprefix("torch.")
