"""Balancers: the rules that trade reconstruction against KL, one small file per family."""

from __future__ import annotations

from collections.abc import Mapping
from math import isinf
from typing import Any

import torch

from vae_core.balancers.contract import (
    Balance,
    Balancer,
    Hyperparameter,
    Learned,
    Scalars,
    State,
    Terms,
)
from vae_core.errors import ContractError, nearest
from vae_core.registry import Registry, imported

FAMILIES = {
    "fixed_beta": "vae_core.balancers.fixed_beta:FixedBeta",
    "learned_sigma": "vae_core.balancers.learned_sigma:LearnedSigma",
    "optimal_sigma": "vae_core.balancers.optimal_sigma:OptimalSigma",
    "per_image_sigma": "vae_core.balancers.per_image_sigma:PerImageSigma",
    "running_average": "vae_core.balancers.running_average:RunningAverage",
    "asperti_trentin": "vae_core.balancers.running_average:AspertiTrentin",
    "running_minimum": "vae_core.balancers.running_minimum:RunningMinimum",
    "laplace_scale": "vae_core.balancers.laplace_scale:LaplaceScale",
    "predicted_image_sigma": "vae_core.balancers.predicted_sigma:PredictedImageSigma",
    "predicted_pixel_sigma": "vae_core.balancers.predicted_sigma:PredictedPixelSigma",
    "linear_warm_up": "vae_core.balancers.warm_up:LinearWarmUp",
    "floored_warm_up": "vae_core.balancers.warm_up:FlooredWarmUp",
    "scvi_warm_up": "vae_core.balancers.warm_up:ScviWarmUp",
    "cyclical_beta": "vae_core.balancers.cyclical_beta:CyclicalBeta",
    "warm_down": "vae_core.balancers.warm_down:WarmDown",
    "frozen_average": "vae_core.balancers.frozen_average:FrozenAverage",
    "late_optimal_sigma": "vae_core.balancers.late_optimal_sigma:LateOptimalSigma",
    "geco": "vae_core.balancers.geco:Geco",
    "control_vae": "vae_core.balancers.control_vae:ControlVae",
    "dynamic_vae": "vae_core.balancers.dynamic_vae:DynamicVae",
    "capacity": "vae_core.balancers.capacity:Capacity",
    "free_bits": "vae_core.balancers.free_bits:FreeBits",
    "bs_vae": "vae_core.balancers.bs_vae:BsVae",
    "bernoulli": "vae_core.balancers.bernoulli:Bernoulli",
    "continuous_bernoulli": "vae_core.balancers.bernoulli:ContinuousBernoulli",
    "student_t": "vae_core.balancers.student_t:StudentT",
    "discretised_logistic": "vae_core.balancers.discretised_logistic:DiscretisedLogistic",
    "beta_tcvae": "vae_core.balancers.beta_tcvae:BetaTcvae",
    "info_vae": "vae_core.balancers.mmd:InfoVae",
    "wae_mmd": "vae_core.balancers.mmd:WaeMmd",
    "multi_rate": "vae_core.balancers.multi_rate:MultiRate",
    "gates_frozen": "vae_core.balancers.multi_rate:GatesFrozen",
}
"""The built-in balancers by name. To add one: its file, its line here, its row in the docs."""

__all__ = [
    "BALANCERS",
    "FAMILIES",
    "Balance",
    "Balancer",
    "Hyperparameter",
    "Learned",
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
    "balancer", group="vae_core.balancers", check=_checked, built_in=FAMILIES
)


def __getattr__(name: str) -> Any:
    """The class of a built-in family, by its own name (``FixedBeta``)."""
    for path in FAMILIES.values():
        if path.endswith(f":{name}"):
            return imported(path)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


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
        # Balancers compute in float32, where 1e-50 is 0 and 1e50 infinite.
        stored = float(torch.tensor(value, dtype=torch.float32))
        if not spec.low < stored < spec.high or isinf(stored) or (value and not stored):
            raise ContractError(
                f"{key} = {value} of balancer '{family.name}'",
                remedy=f"{key} must be between {spec.low:g} and {spec.high:g}, both excluded, "
                "and representable in float32",
            )
