"""From a trial's parameters to the settings it trains with, beta in this package's convention."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from study.spec.models import StudySpec

Reduction = Literal["half_sum", "sum", "mean"]
REDUCTIONS: tuple[Reduction, ...] = ("half_sum", "sum", "mean")


def half_sum_beta(beta: float, reduction: Reduction, dims: int) -> float:
    """The beta of the loss ``S/2 + beta R`` that balances as ``c S + beta' R`` does.

    Args:
        beta: the weight beta' of R (KL, nats per image) in the loss as given.
        reduction: how that loss reduces the squared error S: ``half_sum`` is S/2, ``sum`` is S,
            ``mean`` is S/D.
        dims: D, observed dimensions of an image.

    Returns:
        beta' / (2c): the same, half, or D/2 times as much.
    """
    factors: dict[Reduction, float] = {"half_sum": 1.0, "sum": 0.5, "mean": dims / 2}
    return beta * factors[reduction]


def section_of(key: str) -> tuple[str, str]:
    """The section and the name a space's key means: a key without a dot is the balancer's."""
    section, _, name = key.rpartition(".")
    return section or "balancer", name


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
    if balancer.reduction != "half_sum":
        given = settings["balancer"]["beta"]
        settings["balancer"]["beta"] = half_sum_beta(given, balancer.reduction, dims)
    return settings
