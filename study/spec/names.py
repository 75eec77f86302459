"""Checks a spec's names and settings against the known models, balancers and datasets."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from study.spec.arms import ArmSpec, SearchSpec
from study.spec.design import check_design
from study.spec.distributions import Choice, Distribution, FloatRange, IntRange, section_of
from study.spec.errors import Path, Source
from study.spec.models import StudySpec, TrainingSpec
from study.spec.options import SAMPLERS
from study.spec.roles import arm_roles
from vae_core.errors import UserError, nearest

ENDS = ("beta_low", "beta_high")
"""Hyperparameters that are a range of beta."""
REAL = (float, "float", float | None, "float | None")
"""Annotations of a setting of real numbers."""
HALVE_EVERY = "training.halve_every"
"""Real too. Ranges of it are not read as such: Optuna could not go on with a search that began with
whole numbers."""


def check_names(
    spec: StudySpec, source: Source | None = None, known: Mapping[str, Any] | None = None
) -> None:
    """Look up every name of ``spec``, and check each setting against what that entry takes.

    Imports the core, and everything that the spec names by import path. ``known`` are roles that
    arms have already, whatever theirs would be today.

    Raises:
        SpecError: an unknown name or setting, a hyperparameter that is missing or out of bounds,
            or a user's own class that breaks its contract.
    """
    source = source or Source()
    _check_data(spec, source)
    settings = _model_settings(spec, source)
    for name, arm in spec.arms.items():
        _check_arm(name, arm, settings, source)
    check_design(spec, {**arm_roles(spec), **(known or {})}, source)


def check_beginning(spec: StudySpec, begun: Collection[str], source: Source) -> None:
    """Check what an arm may not begin with: settings that mean something else than they seem to.

    Those ``begun`` are not asked: under an earlier version they may have, and go on as they are.

    Raises:
        SpecError: a range of whole numbers where a setting takes real ones, a search within a
            training of what acts at its start, or ends of a range of beta beside another loss.
    """
    from vae_core.balancers import BALANCERS

    settings = _model_settings(spec, source) or {}
    for name, arm in spec.arms.items():
        if name in begun:
            continue
        space = arm.search.space if arm.search else {}
        for key, distribution in space.items():
            _check_real(key, distribution, settings, source, "arms", name, "search", "space", key)
        ends = [key for key in ENDS if key in (*arm.balancer.extras, *space)]
        if ends and (loss := arm.balancer.loss) is not None:
            what = f"{ends[0]} is in S/2 + beta R, and beta here for the loss {loss}"
            remedy = "give beta in S/2 + beta R too, without reduction or convention"
            raise source.error(("arms", name), what, remedy)
        if arm.search is not None and SAMPLERS[arm.search.sampler.name].evolves:
            family = BALANCERS.get(arm.balancer.name)
            _check_evolving(arm.search, family, source, "arms", name, "search", "space")


def _check_data(spec: StudySpec, source: Source) -> None:
    from vae_core.data import SOURCES, build_source

    with source.at("data", "name"):
        entry = SOURCES.get(spec.data.name)
    taken = _taken(entry, skip=0)
    if taken is not None:
        what = f"dataset '{spec.data.name}' has no setting"
        _check_known(spec.data.extras, ["validation", *taken], what, source, "data")
    with source.at("data"):
        build_source(spec.data.settings)


def _model_settings(spec: StudySpec, source: Source) -> dict[str, Any] | None:
    """Annotations of the model's settings by name; None if it takes any."""
    from vae_core.models import MODELS, check_model_settings

    with source.at("model", "name"):
        model = MODELS.get(spec.model.name)
    if "head" in spec.model.extras:
        with source.at("model", "head"):
            check_model_settings(spec.model.name, model, spec.model.extras)
    settings = _taken(model, skip=2)
    if settings is None:
        return None
    settings.pop("head", None)
    known = {"latent": "int", **settings}
    what = f"model '{spec.model.name}' has no setting"
    _check_known(spec.model.extras, known, what, source, "model")
    return known


def _check_arm(name: str, arm: ArmSpec, settings: dict[str, Any] | None, source: Source) -> None:
    from vae_core.balancers import BALANCERS, check_hyperparameters

    at = ("arms", name, "balancer")
    with source.at(*at, "name"):
        family = BALANCERS.get(arm.balancer.name)
    weighs = "beta" in family.hyperparameters
    settable = [*family.hyperparameters, *(["reduction", "convention"] if weighs else [])]
    named = [
        key for key in arm.balancer.extras if key != "beta"
    ]  # whose absence has its own remedy
    what = f"balancer '{arm.balancer.name}' has no hyperparameter"
    _check_known(named, settable, what, source, *at)
    for key, value in arm.balancer.extras.items():
        with source.at(*at, key):
            check_hyperparameters(family, {key: value})
    if arm.balancer.loss is not None and not weighs:
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


def _taken(call: Callable[..., Any], *, skip: int) -> dict[str, Any] | None:
    """Annotations of what ``call`` takes after its first ``skip``, by name; None: anything."""
    parameters = [*inspect.signature(call).parameters.values()][skip:]
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return {parameter.name: parameter.annotation for parameter in parameters}


def _check_known(
    given: Iterable[str], known: Collection[str], what: str, source: Source, *at: str
) -> None:
    """Check that all keys ``given`` at a path are ``known``."""
    for key in given:
        if key not in known:
            raise source.error((*at, key), f"{what} '{key}'", nearest(key, known))


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


def _check_real(
    key: str, distribution: Distribution, settings: Mapping[str, Any], source: Source, *at: str
) -> None:
    """Check that a range of a setting that takes real numbers is not one of whole numbers."""
    section, name = section_of(key)
    real = key == HALVE_EVERY or (section == "model" and settings.get(name) in REAL)
    if real and isinstance(distribution, IntRange):
        what = f"'{name}' takes real numbers, and a range with whole ends draws whole ones only"
        remedy = f"write low: {distribution.low:.1f}; with step: 1 it draws whole ones"
        raise source.error(at, what, remedy)


def _check_evolving(search: SearchSpec, family: Any, source: Source, *at: str) -> None:
    """Check that nothing is searched that acts at a start only: a copy has that behind it."""
    starts = {scalar.init for scalar in family.learned.values()}
    starts |= {key for key, found in family.hyperparameters.items() if found.at_start}
    for key in search.space:
        if key in starts:
            what = f"'{search.sampler.name}' changes settings within a training, and '{key}' acts "
            remedy = "set it in the balancer, or use another sampler"
            raise source.error((*at, key), f"{what}at its start only", remedy)
