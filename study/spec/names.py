"""Checks a spec's names and settings against the known models, balancers and datasets."""

from __future__ import annotations

import inspect
from typing import Any

from study.spec.arms import ArmSpec
from study.spec.distributions import Choice, Distribution, FloatRange, section_of
from study.spec.errors import Path, Source
from study.spec.models import StudySpec, TrainingSpec
from vae_core.errors import UserError, nearest


def check_names(spec: StudySpec, source: Source | None = None) -> None:
    """Look up every name of ``spec``, and check each setting against what that entry takes.

    Imports the core, and everything that the spec names by import path.

    Raises:
        SpecError: an unknown name or setting, a hyperparameter that is missing or out of bounds,
            or a user's own class that breaks its contract.
    """
    source = source or Source()
    _check_data(spec, source)
    settings = _model_settings(spec, source)
    for name, arm in spec.arms.items():
        _check_arm(name, arm, settings, source)


def _check_data(spec: StudySpec, source: Source) -> None:
    from vae_core.data import SOURCES, build_source
    from vae_core.registry import check_settings

    with source.at("data", "name"):
        entry = SOURCES.get(spec.data.name)
    for key, value in spec.data.extras.items():
        with source.at("data", key):
            check_settings("dataset", spec.data.name, entry, {key: value}, skip=0)
    with source.at("data"):
        build_source(spec.data.settings)


def _model_settings(spec: StudySpec, source: Source) -> dict[str, Any] | None:
    """Annotations of the model's settings by name; None if it takes any."""
    from vae_core.models import MODELS, check_model_settings

    with source.at("model", "name"):
        model = MODELS.get(spec.model.name)
    for key, value in spec.model.extras.items():
        with source.at("model", key):
            check_model_settings(spec.model.name, model, {key: value})
    parameters = [*inspect.signature(model).parameters.values()][2:]
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
        return None
    settings = {p.name: p.annotation for p in parameters if p.name != "head"}
    return {"latent": "int", **settings}


def _check_arm(name: str, arm: ArmSpec, settings: dict[str, Any] | None, source: Source) -> None:
    from vae_core.balancers import BALANCERS, check_hyperparameters

    at = ("arms", name, "balancer")
    with source.at(*at, "name"):
        family = BALANCERS.get(arm.balancer.name)
    for key, value in arm.balancer.extras.items():
        with source.at(*at, key):
            check_hyperparameters(family, {key: value})
    if arm.balancer.loss is not None and "beta" not in family.hyperparameters:
        key = "reduction" if arm.balancer.convention is None else "convention"
        what = f"balancer '{arm.balancer.name}' takes no beta, so no {key} of its loss either"
        raise source.error(
            (*at, key), what, f"leave out {key}; it belongs to a balancer with a beta"
        )
    known = [*family.hyperparameters, *(f"model.{key}" for key in settings or {})]
    known += [f"training.{key}" for key in TrainingSpec.model_fields if key != "reports"]
    for key, distribution in arm.search.space.items() if arm.search else ():
        path = ("arms", name, "search", "space", key)
        if key not in known and not (settings is None and key.startswith("model.")):
            raise _unknown(key, known, source, path)
        _check_searched(key, distribution, family, settings, source, path)
    given = {*arm.balancer.extras, *(arm.search.space if arm.search else ())}
    for key, hyperparameter in family.hyperparameters.items():
        if hyperparameter.required and key not in given:
            space = f"{{{key}: {{low: ..., high: ...}}}}"
            remedy = f"give {key} to the balancer, or search it: space: {space}"
            raise source.error(at, f"{arm.balancer.name} without a {key}", remedy)


def _unknown(key: str, known: list[str], source: Source, path: Path) -> UserError:
    if key == "training.reports":
        what = "'training.reports' cannot be searched: every trial reports at the same points"
        return source.error(path, what, "leave it to training")
    # lr for training.lr, balancer.beta for beta
    same = [name for name in known if section_of(name)[1] == section_of(key)[1]]
    what = f"'{key}' is neither a setting nor one of the balancer's hyperparameters"
    return source.error(path, what, f"did you mean '{same[0]}'?" if same else nearest(key, known))


def _check_searched(
    key: str,
    distribution: Distribution,
    family: Any,
    settings: dict[str, Any] | None,
    source: Source,
    path: Path,
) -> None:
    from vae_core.balancers import check_hyperparameters

    section, name = section_of(key)
    if section == "balancer":
        for value in distribution.ends():
            if not isinstance(value, float):
                what = f"{value!r} is not a number"
                raise source.error(path, what, f"give numbers for {key}")
            with source.at(*path):
                check_hyperparameters(family, {key: value})
    elif section == "model" and (settings or {}).get(name) in {int, "int"}:
        whole = not isinstance(distribution, FloatRange) and all(
            type(value) is int for value in distribution.ends()
        )
        if not whole:
            what = f"'{name}' of the model takes whole numbers"
            raise source.error(path, what, "give whole numbers, without a decimal point")
    elif key == "training.dequantize" and not isinstance(distribution, Choice):
        raise source.error(path, "a range of true and false", "give [true, false]")
