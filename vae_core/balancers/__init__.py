"""Balancers: the rules that trade reconstruction against KL, one small file per family."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vae_core.balancers.contract import (
    Balance,
    Balancer,
    Hyperparameter,
    Learned,
    Scalars,
    State,
    Terms,
)
from vae_core.balancers.fixed_beta import FixedBeta
from vae_core.balancers.laplace_scale import LaplaceScale
from vae_core.balancers.learned_sigma import LearnedSigma
from vae_core.balancers.optimal_sigma import OptimalSigma
from vae_core.balancers.per_image_sigma import PerImageSigma
from vae_core.balancers.predicted_sigma import PredictedImageSigma, PredictedPixelSigma
from vae_core.balancers.running_average import AspertiTrentin, RunningAverage
from vae_core.balancers.running_minimum import RunningMinimum
from vae_core.errors import ContractError, nearest
from vae_core.registry import Registry

__all__ = [
    "BALANCERS",
    "AspertiTrentin",
    "Balance",
    "Balancer",
    "FixedBeta",
    "Hyperparameter",
    "LaplaceScale",
    "Learned",
    "LearnedSigma",
    "OptimalSigma",
    "PerImageSigma",
    "PredictedImageSigma",
    "PredictedPixelSigma",
    "RunningAverage",
    "RunningMinimum",
    "Scalars",
    "State",
    "Terms",
    "check_hyperparameters",
]


def _checked(name: str, entry: Any) -> type[Balancer]:
    from vae_core.balancers.suite import check_balancer

    if not (isinstance(entry, type) and issubclass(entry, Balancer)):
        raise ContractError(
            f"balancer '{name}' is {entry!r}",
            remedy="give a subclass of vae_core.balancers.Balancer",
        )
    check_balancer(entry)
    return entry


BALANCERS: Registry[type[Balancer]] = Registry(
    "balancer", group="vae_core.balancers", check=_checked
)
for _family in (
    FixedBeta,
    LearnedSigma,
    OptimalSigma,
    PerImageSigma,
    RunningAverage,
    AspertiTrentin,
    RunningMinimum,
    LaplaceScale,
    PredictedImageSigma,
    PredictedPixelSigma,
):
    BALANCERS.register(_family.name, _family)


def check_hyperparameters(family: type[Balancer], values: Mapping[str, float]) -> None:
    """Check values against what ``family`` declares.

    Raises:
        ContractError: an unknown name, or a value outside its bounds.
    """
    for key, value in values.items():
        if key not in family.hyperparameters:
            on_top = key == "beta" and "k" in family.hyperparameters
            raise ContractError(
                f"balancer '{family.name}' has no hyperparameter '{key}'",
                remedy="the KL weight on top of an automatic balance is called 'k'"
                if on_top
                else nearest(key, family.hyperparameters),
            )
        spec = family.hyperparameters[key]
        if not spec.low < value < spec.high:
            raise ContractError(
                f"{key} = {value} of balancer '{family.name}'",
                remedy=f"{key} must lie between {spec.low:g} and {spec.high:g}, both excluded",
            )
