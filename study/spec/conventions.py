"""The losses of other code in which beta may be given, and what it is in S/2 + beta R.

S is the squared error summed over the pixels of an image in [0, 1], R the KL summed over latents.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from study.spec.base import Number, Section
from study.spec.errors import fault, shown
from vae_core.errors import nearest

_BERNOULLI = (
    "binary cross-entropy weighs a pixel's error by 1 / (p (1 - p)), another weight for every pixel"
)
_L1 = "the gradient of an absolute error does not shrink with the error"
_PERCEPTUAL = "a perceptual loss compares features of a network, not pixels"

NO_EQUIVALENT: dict[str, str] = {
    **dict.fromkeys(("bernoulli", "bce", "binary_cross_entropy"), _BERNOULLI),
    **dict.fromkeys(("l1", "mae", "laplace"), _L1),
    **dict.fromkeys(("perceptual", "lpips"), _PERCEPTUAL),
    "pytorch_examples": f"its vae/main.py is Bernoulli, and {_BERNOULLI}",
    "keras_io": f"its examples/generative/vae.py is Bernoulli, and {_BERNOULLI}",
    "disentanglement_lib": f"all its configurations use bernoulli_loss, and {_BERNOULLI}; its "
    "l2_loss is disentanglement_lib_l2",
    "latent_diffusion": f"its autoencoders have an L1 and a perceptual loss: {_L1}, and "
    f"{_PERCEPTUAL}",
}
"""Losses, and libraries whose losses they are, in which no beta means one in S/2 + beta R."""


def _has_equivalent(value: Any) -> Any:
    if isinstance(value, str) and value in NO_EQUIVALENT:
        what = f"'{value}' has no equivalent in S/2 + beta R: {NO_EQUIVALENT[value]}"
        raise fault(what, "search beta, or use a balancer that sets sigma itself")
    return value


Reduction = Annotated[
    Literal["half_sum", "sum", "mean", "half_mean"], BeforeValidator(_has_equivalent)
]
REDUCTION_WORDS = "half_sum (S/2), sum (S), mean (S/D) or half_mean (S/(2D))"


class Geometry(NamedTuple):
    """What a loss that averages depends on: D, latent size, batch size."""

    dims: int
    latent: int
    batch: int


class Convention(Section):
    """The loss that beta is given for: the row of a library by its ``name``, or the parts.

    The squared error is averaged over the batch. beta is the whole weight of the KL, without the
    ``times`` that the loss multiplies it by.
    """

    name: str | None = Field(default=None, description="a library's name")
    reconstruction: Reduction = Field(description=REDUCTION_WORDS)
    range: list[Number] = Field(
        default=[0.0, 1.0], description="what black and white are in that code, e.g. [-1, 1]"
    )
    kl: Literal["sum", "mean", "batch_sum"] = Field(
        default="sum",
        description="sum or mean over latents, or batch_sum: over latents and batch",
    )
    times: Number = Field(
        default=1.0, gt=0, description="a number above 0 that beta is multiplied by in that code"
    )

    @model_validator(mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        """Fill in the parts of a named library; what a file froze must still be its parts."""
        value = {"name": value} if isinstance(value, str) else value
        if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
            return value
        name = _has_equivalent(value["name"])
        if name not in LIBRARIES:
            raise fault(f"no convention '{name}'", nearest(name, LIBRARIES))
        known = LIBRARIES[name].convention.model_dump() | {"name": name}
        for key, given in value.items():
            if key in known and given != known[key]:
                what = f"{key} {shown(given)}, but that of {name} is {shown(known[key])}"
                raise fault(what, "leave out name, or this part", key)
        return {**known, **value}

    @field_validator("range", mode="before")
    @classmethod
    def _one_scale(cls, value: Any) -> Any:
        if isinstance(value, str):
            what = f"{shown(value)} is not a range: how much an error weighs depends on the scale"
            remedy = (
                "with one mean m and deviation s of all channels give [-m/s, (1-m)/s]; channels "
                "of different deviations have no equivalent"
            )
            raise fault(what, remedy)
        return value

    @field_validator("range")
    @classmethod
    def _ordered(cls, value: list[float], info: ValidationInfo) -> list[float]:
        if len(value) != 2 or value[0] >= value[1]:
            raise fault(f"{shown(value)} is no range", "give two numbers, e.g. [-1, 1]")
        return value

    @property
    def depends_on(self) -> tuple[str, ...]:
        """The keys of a space that decide, beside the image, what beta is here."""
        return {"sum": (), "mean": ("model.latent",), "batch_sum": ("training.batch_size",)}[
            self.kl
        ]

    def half_sum_beta(self, beta: float, at: Geometry) -> float:
        """The weight in S/2 + beta R that balances as ``beta`` does in this loss.

        A loss c w^2 S + beta v R, with w the width of its range, is 2 c w^2 times
        S/2 + (beta v / (2 c w^2)) R.
        """
        factors = {"half_sum": 1.0, "sum": 0.5, "mean": at.dims / 2, "half_mean": float(at.dims)}
        weights = {"sum": 1.0, "mean": 1 / at.latent, "batch_sum": float(at.batch)}
        width = self.range[1] - self.range[0]
        return beta * (factors[self.reconstruction] / width**2 * weights[self.kl] * self.times)

    def __str__(self) -> str:
        low, high = self.range
        parts = [
            self.reconstruction,
            f"range [{low:g}, {high:g}]" if self.range != [0.0, 1.0] else "",
            f"kl {self.kl}" if self.kl != "sum" else "",
            f"times {self.times:g}" if self.times != 1 else "",
        ]
        text = ", ".join(filter(None, parts))
        return f"{self.name} ({text})" if self.name else text


@dataclass(frozen=True)
class Library:
    """What a release of a library does; another release that does otherwise is another row."""

    convention: Convention
    weight: float
    """Of the KL in its own training script or configuration."""
    at: Geometry
    """Of the images and the model of that script; it matters where the loss averages."""
    source: str

    @property
    def beta(self) -> float:
        """Its default weight, as the weight of R in S/2 + beta R."""
        return self.convention.half_sum_beta(self.weight, self.at)


def _library(
    source: str, weight: float, at: tuple[int, int, int], reconstruction: str, **parts: Any
) -> Library:
    convention = Convention(reconstruction=reconstruction, **parts)  # type: ignore[arg-type]
    return Library(convention, weight, Geometry(*at), source)


RGB64, CIFAR, MNIST = 3 * 64 * 64, 3 * 32 * 32, 28 * 28

LIBRARIES: dict[str, Library] = {
    "pythae": _library(
        "0.1.2, models/beta_vae/beta_vae_model.py, reconstruction_loss mse",
        *(1.0, (MNIST, 16, 64), "half_sum"),
    ),
    "pytorch_vae": _library(
        "commit a6896b9 of 2021-12, models/vanilla_vae.py, kld_weight of configs/vae.yaml",
        *(0.00025, (RGB64, 128, 64), "mean"),
    ),
    "pytorch_vae_2020": _library(
        "commit 90172be of 2020-03, experiment.py: the weight is batch / training images",
        *(144 / 162_770, (RGB64, 128, 144), "mean"),
        range=[-1.0, 1.0],
    ),
    "lightning_bolts": _library(
        "0.7.0, models/autoencoders/basic_vae/basic_vae_module.py, CIFAR-10 unnormalised",
        *(0.1, (CIFAR, 256, 256), "mean"),
        kl="mean",
    ),
    "disent": _library(
        "0.8.0, frameworks/vae/_unsupervised__betavae.py, loss_reduction mean",
        *(0.003, (RGB64, 9, 128), "mean"),
        kl="mean",
    ),
    "disent_mean_sum": _library(
        "0.8.0, README.md, loss_reduction mean_sum", *(4.0, (RGB64, 10, 128), "sum")
    ),
    "disentanglement_lib_l2": _library(
        "1.5, methods/shared/losses.py: l2_loss, beta of examples/model.gin",
        *(4.0, (64 * 64, 10, 64), "sum"),
    ),
    "tfp_regularizer": _library(
        "0.25.0 with tf-keras 2.18.0, layers/distribution_layer.py: KLDivergenceRegularizer",
        *(1.0, (MNIST, 16, 256), "half_sum"),
        times=2.0,
    ),
    "tfp_add_loss": _library(
        "0.25.0 with tf-keras 2.18.0, layers/distribution_layer.py: KLDivergenceAddLoss",
        *(1.0, (MNIST, 16, 32), "half_sum"),
        kl="batch_sum",
    ),
    "diffusers": _library(
        "0.33, examples/research_projects/autoencoderkl/train_autoencoderkl.py, rec_loss l2",
        *(1e-6, (3 * 512 * 512, 4 * 64 * 64, 4), "sum"),
        range=[-1.0, 1.0],
    ),
}
