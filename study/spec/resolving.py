"""From a trial's parameters to the settings it trains with, beta in this package's convention."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from typing import Any

from study.spec.conventions import Geometry
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
        dims: D, observed dimensions of an image, by which losses that average are converted.

    Returns:
        ``model`` (name, latent, settings), ``training`` and ``balancer`` (name, hyperparameters),
        with beta as k sigma^2: the weight in ``S/2 + beta R``. Where beta is given for another
        loss, ``given`` has it as it was given (beta, convention).
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
    given, loss = settings["balancer"].get("beta"), balancer.loss
    if given is not None and loss is not None:
        at = Geometry(dims, settings["model"]["latent"], settings["training"]["batch_size"])
        settings["balancer"]["beta"] = loss.half_sum_beta(given, at)
        settings["given"] = {"beta": given, "convention": str(loss)}
    return settings


def converted(spec: StudySpec, dims: int) -> Iterator[str]:
    """A line for each arm whose beta is given for another loss: as given, and in S/2 + beta R."""
    for name, arm in spec.arms.items():
        loss, space = arm.balancer.loss, arm.search.space if arm.search else {}
        if loss is None:
            continue
        keys = [key for key in ("beta", *loss.depends_on) if key in space]
        drawn = [
            resolve(spec, name, dict(zip(keys, values, strict=True)), dims)
            for values in product(*(space[key].ends() for key in keys))
        ]
        found = [settings for settings in drawn if "given" in settings]  # else beta has its default
        if found:
            by = " and ".join(key for key in keys if key != "beta")
            yield (
                f"arm '{name}': beta {_span(s['given']['beta'] for s in found)} for the loss "
                f"{loss} is {_span(s['balancer']['beta'] for s in found)} in S/2 + beta R"
                + (f", by each trial's {by}" if by else "")
            )


def _span(values: Iterable[float]) -> str:
    known = sorted(set(values))
    return " to ".join(f"{value:.4g}" for value in dict.fromkeys((known[0], known[-1])))
