"""From a trial's parameters to the settings it trains with, beta in this package's convention."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from study.spec.arms import half_sum_beta
from study.spec.distributions import section_of
from study.spec.models import StudySpec


def resolve(
    spec: StudySpec, arm: str, params: Mapping[str, Any], dims: int
) -> dict[str, dict[str, Any]]:
    """The settings of a trial of ``arm`` whose searched parameters are ``params``.

    Args:
        spec: the study.
        arm: name of one of its arms.
        params: searched settings by the keys of the space, in the units of the spec.
        dims: D, observed dimensions of an image, which the ``mean`` reduction needs.

    Returns:
        ``model`` (name, latent, settings), ``training`` and ``balancer`` (name, hyperparameters),
        with beta as k sigma^2: the weight in ``S/2 + beta R``.
    """
    balancer = spec.arms[arm].balancer
    settings: dict[str, dict[str, Any]] = {
        "model": spec.model.settings,
        "training": spec.training.model_dump(mode="json"),
        "balancer": {"name": balancer.name, **balancer.extras},
    }
    for key, value in params.items():
        section, name = section_of(key)
        settings[section][name] = value
    given = settings["balancer"].get("beta")
    if given is not None:
        settings["balancer"]["beta"] = half_sum_beta(given, balancer.reduction, dims)
    return settings
