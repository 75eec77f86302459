"""Checks a spec against its prepared images, so that it does not first fail in training."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

from study.spec.distributions import section_of
from study.spec.errors import Path, Source
from study.spec.models import DataSpec, StudySpec
from study.spec.names import check_beginning
from study.spec.resolving import resolve

if TYPE_CHECKING:
    from vae_core.balancers import Balancer
    from vae_core.data import PreparedData

DECIDING = {"training.epochs", "training.batch_size", "model.latent"}
"""Searched settings that decide, beside the balancer's own, what it derives and how far it gets."""


@dataclass(frozen=True)
class Models:
    """What was found of a user's own models.

    Attributes:
        starts: How each starts, in a line each.
        one_row: Why an engine can train one trial at a time only; None: it can train several.
    """

    starts: list[str]
    one_row: str | None

    @property
    def said(self) -> list[str]:
        """What a launch says of them, a line each."""
        if self.one_row is None:
            return self.starts
        return [*self.starts, f"model: an engine trains one trial at a time: {self.one_row}"]


def check_images(
    spec: StudySpec,
    data: PreparedData,
    source: Source | None = None,
    begun: Collection[str] = (),
) -> Models:
    """Check that the models of ``spec`` take the images of ``data``, and that these are enough.

    A user's own model has to pass the contract suite and a trial in small (seconds, on the CPU);
    built-in ones are only built.

    Raises:
        SpecError: a model does not take them, they are too few, a balancer's hyperparameters do not
            go together, an engine cannot have the slots that ``spec`` asks for, or as in
            :func:`check_splits`.
    """
    source = source or Source()
    images = check_splits(spec, data, source)
    _check_training(spec, images, source)
    check_beginning(spec, begun, source)
    for arm in spec.arms:
        with source.at("arms", arm):
            for trial in () if arm in begun else trials_at_ends(spec, arm, data.shape, images):
                if (misfit := trial.balancer.misfit(trial.values)) is not None:
                    raise source.error(("arms", arm), *misfit)
    _check_generators(spec, images, source)
    models = _check_models(spec, data, source, begun)
    slots = spec.engines.slots
    if models.one_row is not None and slots not in ("auto", 1):
        what = f"{slots} slots, but an engine trains one trial of this model at a time: "
        raise source.error(("engines", "slots"), f"{what}{models.one_row}", "give auto or 1")
    return models


def check_splits(spec: StudySpec, data: PreparedData, source: Source | None = None) -> int:
    """Check that ``data`` can be split and labelled as ``spec`` has it.

    Returns:
        How many images there are to train on.

    Raises:
        SpecError: it cannot.
    """
    from vae_core.data import VALIDATION, check_classes, open_split, validation_count

    source = source or Source()
    if "classifier" in spec.evaluation.features:
        with source.at("evaluation", "features"):
            check_classes(open_split(data, "train", verify=False).labels)
    count, path = data.counts["train"], ("data", "validation")
    if VALIDATION not in data.counts:
        with source.at(*path):
            return count - validation_count(count, spec.data.validation)
    own = data.counts[VALIDATION]
    if spec.data.validation != DataSpec.model_fields["validation"].default:
        what = f"{spec.data.validation}, and the data bring {own:,} validation images of their own"
        remedy = "leave validation out to use those, or move them elsewhere and prepare again"
        raise source.error(path, what, remedy)
    if own == 1:
        what = "the one validation image that the data bring would choose every winner"
        raise source.error(path, what, "add some, or move it elsewhere to have some held out")
    return count


def training_steps(epochs: float, batch_size: int, images: int) -> int:
    """Steps of a trial: an epoch is as many whole batches as ``images`` fill."""
    return max(1, round(epochs * (images // batch_size)))


class BalancedTrial(NamedTuple):
    """A trial's balancer, with the value of every hyperparameter, and its length."""

    balancer: Balancer
    values: Mapping[str, float]
    steps: int
    epochs: float


def trials_at_ends(
    spec: StudySpec, arm: str, shape: tuple[int, int, int], images: int
) -> Iterator[BalancedTrial]:
    """The trials of ``arm`` at the ends of its searched ranges, all combinations.

    Args:
        spec: the study.
        arm: name of one of its arms.
        shape: of an image, C, H, W.
        images: how many there are to train on.

    Raises:
        ContractError: in one of them the hyperparameters do not go together.
    """
    from vae_core.balancers import BALANCERS
    from vae_core.geometry import ImageShape

    family = BALANCERS.get(spec.arms[arm].balancer.name)
    search, geometry = spec.arms[arm].search, ImageShape(*shape)
    space = search.space if search else {}
    keys = [key for key in space if section_of(key)[0] == "balancer" or key in DECIDING]
    for values in product(*(space[key].ends() for key in keys)):
        trial = resolve(spec, arm, dict(zip(keys, values, strict=True)), geometry.dims)
        epochs, batch = trial["training"]["epochs"], trial["training"]["batch_size"]
        steps = training_steps(epochs, batch, images)
        balancer = family(geometry, trial["model"]["latent"], images, batch)
        given = {key: value for key, value in trial["balancer"].items() if key != "name"}
        yield BalancedTrial(balancer, balancer.complete(given, steps), steps, epochs)


def _check_training(spec: StudySpec, images: int, source: Source) -> None:
    trials = []
    for arm in spec.arms:
        sizes, size_path = _drawn(spec, arm, "batch_size")
        every, epochs_path = _drawn(spec, arm, "epochs")
        for size, epochs in product(sizes, every):
            if size > images:
                what = f"a batch of {size:,} images, of {images:,} training images"
                raise source.error(size_path, what, f"give {images:,} or less")
            trials.append((training_steps(epochs, size, images), size, epochs, epochs_path))
    steps, size, epochs, epochs_path = min(trials)
    if spec.training.reports > steps:
        what = (
            f"{spec.training.reports} reports in the {steps} steps of a trial "
            f"({epochs:g} epochs of {images // size} batches of {size})"
        )
        remedy = f"give {steps} or less, or more {'.'.join(map(str, epochs_path))}"
        raise source.error(("training", "reports"), what, remedy)


def _check_generators(spec: StudySpec, images: int, source: Source) -> None:
    """Generators that are fitted to latents of the training images need enough of them."""
    asked = spec.evaluation
    needed = {
        "mixture": (("mixture",), asked.mixture, "Gaussians"),
        "second_stage": (
            ("second_stage", "batch_size"),
            asked.second_stage.batch_size,
            "latents a batch",
        ),
    }
    for generator in asked.generators:
        path, count, what = needed.get(generator, ((), 0, ""))
        if count > images:
            fault = f"{count:,} {what}, of {images:,} training images"
            raise source.error(("evaluation", *path), fault, f"give {images:,} or less")


def _drawn(spec: StudySpec, arm: str, name: str) -> tuple[list[Any], Path]:
    """The extreme values of a training setting in ``arm``, and where the spec gives them."""
    search, key = spec.arms[arm].search, f"training.{name}"
    if search and key in search.space:
        return search.space[key].ends(), ("arms", arm, "search", "space", key)
    return [getattr(spec.training, name)], ("training", name)


def _check_models(
    spec: StudySpec, data: PreparedData, source: Source, begun: Collection[str]
) -> Models:
    from vae_core.geometry import ImageShape
    from vae_core.likelihoods import OF_PROBABILITIES
    from vae_core.models import MODELS, Start, build, check_model
    from vae_core.rehearsal import WIDTHS, check_probabilities, rehearse

    shape = ImageShape(*data.shape)
    kind = MODELS.get(spec.model.name)
    users = not kind.__module__.startswith("vae_core.")
    checked, starts, one_row = set[str](), list[str](), None
    for arm, settings, rule, path in _models(spec, shape.dims):
        head, gated = rule.head, rule.gated
        known = json.dumps([settings, head, gated], sort_keys=True)
        first = known not in checked
        checked.add(known)
        with source.at(*path):
            if first:
                build(settings, shape, head, gated=gated)
            if first and users:
                own = {key: value for key, value in settings.items() if key != "name"}
                one_row = check_model(kind, shape, **own).one_row or one_row
                precision, widths = spec.engines.precision, (1,) if one_row else WIDTHS
                rehearse(settings, shape, head, precision, widths, gated=gated)
                parts = f" with a head for each {head}" if head else " with gates" if gated else ""
                start = Start(partial(build, settings, shape, gated=gated), head)
                starts.append(f"model {spec.model.name}{parts}: {start}")
            if users and arm not in begun and rule.likelihood in OF_PROBABILITIES:
                check_probabilities(settings, shape, head, rule.likelihood)
    return Models(list(dict.fromkeys(starts)), one_row)


def _models(
    spec: StudySpec, dims: int
) -> Iterator[tuple[str, dict[str, Any], type[Balancer], Path]]:
    """Model settings at the ends of the searched ranges, one setting at a time.

    Each with its arm, whose balancer may need a head or gates, that, and its path in the spec.
    """
    from vae_core.balancers import BALANCERS

    for name, arm in spec.arms.items():
        rule = BALANCERS.get(arm.balancer.name)
        space = arm.search.space if arm.search else {}
        lowest = {key: distribution.ends()[0] for key, distribution in space.items()}
        yield name, resolve(spec, name, lowest, dims)["model"], rule, ("model",)
        for key, distribution in space.items():
            if key.startswith("model."):
                for value in distribution.ends():
                    drawn = resolve(spec, name, {**lowest, key: value}, dims)["model"]
                    yield name, drawn, rule, ("arms", name, "search", "space", key)
