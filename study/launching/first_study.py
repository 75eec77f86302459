"""``study init``: a first study file, commented, that runs as it is."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import log
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from study.formatting import duration
from study.journal.home import NAME, StudyHome, command_line
from study.spec import StudySpec
from study.spec.errors import Source
from study.spec.names import check_names
from study.spec.overrides import apply_overrides
from study.spec.shipped import shipped_studies
from vae_core.atomic import atomic_write
from vae_core.errors import DataError, UserError, nearest

if TYPE_CHECKING:
    from study.launching.dry_run import Estimate
    from vae_core.data.look import Look

OWN = ("folder", "parquet")
"""Kinds that look at images of the user's own."""
COPIES = {"digits": "quickstart", "paper": "lin2019_fashion"}
"""Kinds that are another name of a shipped study; the shipped studies' own names are kinds too."""
SIDES = {"cpu": 32, "cuda": 64}
"""The largest side of images, by device: a first study should not take a day."""
CONV_SIDES = (28, 32, 64)
"""Sides that model ``conv`` takes."""
STEPS = 600
"""Of a trial, about."""
FEWEST = 100
"""Training images, below which validation and test would be a handful."""
BITS_PER_DIM = 0.005
"""The margin: what the shipped studies call no worse."""


class FirstStudyError(UserError):
    """A first study that cannot be written."""


@dataclass(frozen=True)
class FirstStudy:
    """A study file that was written.

    Attributes:
        file: The file.
        found: What was seen in the images, where the study is made for them.
        estimate: What it will run and take, likewise.
        launch: The command that runs it.
    """

    file: Path
    found: Look | None
    estimate: Estimate | None
    launch: str

    def __str__(self) -> str:
        lines = [] if self.found is None else [f"found: {self.found}"]
        cost = "" if self.estimate is None else f": {_cost(self.estimate)}"
        return "\n".join([*lines, f"wrote {self.file}{cost}", f"next: {self.launch}"])


def init(
    kind: str, path: Path | None, overrides: Sequence[str], folder: Path, home: Path
) -> FirstStudy:
    """Write a first study file into ``folder``.

    Args:
        kind: of :data:`OWN` or :data:`COPIES`, or a shipped study's name, whose file is copied.
        path: the folder of images, or of Parquet files, for a kind of :data:`OWN`.
        overrides: changes to the study for these images, each ``key.path=value``.
        folder: where the file is written.
        home: the studies' home, which holds the images as they are prepared for the estimate.

    Raises:
        FirstStudyError: there is such a file, or the arguments do not go together.
        UserError: the images cannot be used, or a launch would refuse the study.
    """
    if kind in OWN:
        return _own(kind, path, overrides, folder, home)
    shipped = shipped_studies()
    name = COPIES.get(kind, kind)
    if name not in shipped:
        raise FirstStudyError(
            f"'{kind}' is no kind of study", remedy=nearest(kind, {*OWN, *COPIES, *shipped})
        )
    if path is not None or overrides:
        raise FirstStudyError(
            f"'{kind}' is copied as it is",
            where=str(path) if path else "--set",
            remedy=f"a path goes with {' and '.join(OWN)}; "
            f"settings of a copy can be changed in it, or by `study launch {name} --set`",
        )
    file = _new(folder / f"{name}.yaml")
    with atomic_write(file) as target:
        target.write(shipped[name].read_bytes())
    return FirstStudy(file, None, None, command_line("launch", home / name))


def _own(
    kind: str, path: Path | None, overrides: Sequence[str], folder: Path, home: Path
) -> FirstStudy:
    from study.launching.dry_run import devices, estimate  # and torch with it
    from vae_core.data.look import look

    if path is None:
        raise FirstStudyError(
            f"'{kind}' needs the folder of the images", remedy=f"give it: `study init {kind} PATH`"
        )
    path = path.expanduser().resolve()
    data = {"name": kind, "path": str(path)}
    of_data = [text for text in overrides if text.startswith("data.")]
    given, _ = apply_overrides({"data": data}, of_data)
    found = look({key: value for key, value in given["data"].items() if key != "validation"})
    if found.counts["train"] < FEWEST:
        raise DataError(
            f"{found.counts['train']} training images, too few to compare anything on",
            where=str(path),
            remedy=f"add images: {FEWEST} at least, and some thousand for a firm answer",
        )
    device, _ = devices("auto")
    first = study_of(_name(path), given["data"], found, device)
    study, given_by = apply_overrides(first, overrides)
    source = Source("the study", overrides=given_by)
    spec = StudySpec.from_dict(study, source)
    check_names(spec, source)
    file = _new(folder / f"{spec.name}.yaml")
    planned = estimate(spec, home, None)
    if planned.refusals:
        raise planned.refusals[0]
    with atomic_write(file) as target:
        target.write(_text(study, found, planned).encode())
    return FirstStudy(file, found, planned, command_line("launch", StudyHome(home, spec.name).path))


def _new(file: Path) -> Path:
    if file.exists():
        raise FirstStudyError(
            "there is such a file already, and it is not overwritten",
            where=str(file),
            remedy="move it away, or work in another folder",
        )
    return file


def _name(path: Path) -> str:
    """A study's name from that of the folder of its images."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", path.name).strip("-_")[:60]
    return name if NAME.fullmatch(name) and name not in (*OWN, "data", "images") else "mine"


def study_of(name: str, data: Mapping[str, Any], found: Look, device: str) -> dict[str, Any]:
    """The study of ``data`` in which ``found`` was found, to run on ``device``, cpu or cuda.

    What ``data`` give already stays.
    """
    side = data.get("resize") or min(SIDES[device], found.square_side or found.typical_side)
    channels = data.get("channels") or (1 if found.grey else 3)
    share = 0.1 if found.counts["train"] >= 2000 else 0.2
    own = "validation" in found.counts
    train = round(found.counts["train"] * (1 if own else 1 - share))
    batch = 64 if train >= 640 else 16
    conv = device == "cuda" and side in CONV_SIDES
    nats = BITS_PER_DIM * log(2) * side * side * channels
    return {
        "name": name,
        "question": "Does searching for beta beat balancers that set it themselves, "
        "and at what cost?",
        "data": {
            **data,
            "resize": side,
            "channels": channels,
            **({"background": "white"} if found.transparent else {}),
            **({} if own else {"validation": share}),
        },
        "model": {"name": "conv", "latent": 32} if conv else {"name": "mlp", "latent": 16},
        "training": {
            "epochs": max(1, round(STEPS * batch / train)),
            "batch_size": batch,
            "lr": 1e-3,
        },
        "margin": float(f"{nats:.1g}"),
        "arms": {
            "random-beta": {
                "balancer": "fixed_beta",
                "search": {
                    "space": {"beta": {"low": 1e-4, "high": 10.0, "log": True}},
                    "sampler": "random",
                    "trials": 24,
                },
            },
            "learned-sigma": {"balancer": "learned_sigma"},
            "optimal-sigma": {"balancer": "optimal_sigma"},
            "running-average": {"balancer": "running_average"},
        },
    }


def _text(study: Mapping[str, Any], found: Look, planned: Estimate) -> str:
    """``study`` as YAML, each section under a comment."""
    side = study["data"]["resize"]
    about = {
        "": f"A first study of your own images. Found: {found}. Costs: {_cost(planned)}. A first "
        f"look is cheaper: --set training.epochs={max(1, study['training']['epochs'] // 10)}.",
        "data": f"Each image's centred square, at {side}x{side} pixels, "
        + ("grey. " if study["data"]["channels"] == 1 else "RGB. ")
        + ("Transparent images are laid over the background. " if found.transparent else "")
        + (
            f"resize: 64 shows more, and takes about {(64 / side) ** 2:.0f} times as long. "
            if side < found.typical_side
            else ""
        )
        + (
            "The validation images that the data bring choose the winners."
            if "validation" in found.counts
            else "validation is the share of train that chooses the winners."
        ),
        "model": "mlp is the fastest. conv, for 28, 32 or 64 pixels squared, models photographs "
        "better, and takes a CPU several times as long.",
        "training": "The same for every trial. More epochs are a fairer test of all arms, and cost "
        "in proportion. A balance also sets how long Adam's steps are: to compare balances alone, "
        "search training.lr in every arm, with as many trials.",
        "margin": f"Nats per image, about {BITS_PER_DIM:g} bits per dimension: so much worse still "
        "counts as no worse.",
        "arms": "One arm searches beta by hand; the others balance themselves, at their defaults. "
        "Every arm trains on 2 seeds first; then the best of either kind on 12 fresh ones.",
    }
    parts = [_comment(about[""])]
    for key, value in study.items():
        if key in about:
            parts.append("\n" + _comment(about[key]))
        flow = None if isinstance(value, dict) else False
        parts.append(
            yaml.safe_dump({key: value}, sort_keys=False, default_flow_style=flow, width=98)
        )
    return "".join(parts)


def _comment(text: str) -> str:
    wrap = partial(textwrap.wrap, width=98, break_long_words=False, break_on_hyphens=False)
    return "".join(f"# {line}\n" for line in wrap(text))


def _cost(planned: Estimate) -> str:
    """What a study trains, and how long that takes on this machine."""
    trials = sum(arm.trials for arm in planned.arms)
    images = sum(arm.images for arm in planned.arms)
    return (
        f"{trials} trials of {images // trials:,} images, {images:,} images in total; estimate: "
        f"{duration(planned.seconds)} of training on this machine ({planned.engines} engine(s) on "
        f"{planned.device}), evaluation not counted"
    )
