"""Models by name, and a model from a spec's settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from vae_core.errors import ContractError, UserError
from vae_core.geometry import ImageShape
from vae_core.models.contract import VAE, Head
from vae_core.models.finishing import finish
from vae_core.models.gated import add_gates
from vae_core.models.initialise import private_randomness
from vae_core.registry import Registry, check_settings


def _is_model(name: str, entry: Any) -> type[VAE]:
    if isinstance(entry, type) and issubclass(entry, VAE):
        return entry
    raise ContractError(
        f"'{name}' is not a model: {entry!r}",
        where="model.name",
        remedy="name a subclass of vae_core.models.VAE",
    )


MODELS: Registry[type[VAE]] = Registry(
    "model",
    group="vae_core.models",
    check=_is_model,
    built_in={
        "mlp": "vae_core.models.mlp:MLP",
        "conv": "vae_core.models.conv:Conv",
        "residual": "vae_core.models.residual:Residual",
        "wae": "vae_core.models.wae:Wae",
    },
)


def check_model_settings(name: str, kind: type[VAE], settings: Mapping[str, Any]) -> None:
    """Check ``settings`` against those that model ``kind`` takes beside its latent size.

    Raises:
        ContractError: a setting it does not take, or ``head``, which the balancer decides.
    """
    if "head" in settings:
        raise ContractError(
            "a model has no setting 'head'",
            where="model.head",
            remedy="name a balancer that needs a head: predicted_image_sigma or "
            "predicted_pixel_sigma",
        )
    check_settings("model", name, kind, settings, skip=2)


def build(
    settings: Mapping[str, Any],
    shape: ImageShape,
    head: Head | None = None,
    seed: int = 0,
    *,
    gated: bool = False,
) -> VAE:
    """A new model for images of ``shape`` from ``{"name": ..., "latent": ..., ...settings}``.

    It starts as ``__init__`` leaves it under ``seed``; :class:`vae_core.models.Start` gives its
    members their own start. Building consumes none of torch's global randomness, and equal
    settings and seeds give equal models. A ``head`` adds parameters and leaves the names of the
    others, and so their start, as they are; so do gates (:mod:`vae_core.models.gated`).

    Raises:
        ContractError: an unknown model, setting or value, images it does not take, or a head or
            gates it cannot have.
    """
    options = dict(settings)
    name = options.pop("name", None)
    if name is None or "latent" not in options:
        missing = "name" if name is None else "latent"
        raise ContractError(
            f"the setting '{missing}' is missing",
            where=f"model.{missing}",
            remedy="a model needs a name and a latent size: {name: mlp, latent: 8}",
        )
    latent = options.pop("latent")
    kind = MODELS.get(name)
    check_model_settings(name, kind, options)
    if head is not None:
        if head not in kind.heads:
            raise ContractError(
                f"model '{name}' cannot be built with a head for the noise variance of each {head}",
                where="model.name",
                remedy="use a model that can, or a balancer that needs no head",
            )
        options["head"] = head
    with private_randomness():
        torch.default_generator.manual_seed(seed)
        try:
            model = finish(kind(shape, latent, **options))
            return add_gates(model) if gated else model
        except UserError:
            raise
        except Exception as error:
            raise ContractError(
                f"model '{name}' cannot be built for images of {shape} with "
                f"{ {'latent': latent, **options} }: {type(error).__name__}: {error}",
                where="model",
                remedy="correct the settings, or the model's __init__",
            ) from error
