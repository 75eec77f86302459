"""Pictures that confirm runs left, embedded in the page."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from study.analysis.records.artifacts import standing_files

PICTURES = 2 * 2**20
"""Bytes of pictures that a page holds; further ones are named."""

_TITLES = {
    "samples": "Samples from the prior",
    "samples_second_stage": "Samples of the second stage",
    "reconstructions": "Test images and their reconstructions",
}
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Picture:
    """One arm's picture; ``about`` names its run."""

    arm: str
    seed: int
    about: str
    width: int
    height: int
    base64: str


@dataclass(frozen=True)
class Galleries:
    """Pictures by title, an arm each, and the paths of those that do not fit on the page."""

    shown: Sequence[tuple[str, Sequence[Picture]]]
    left_out: Sequence[str]


def galleries(arms: Sequence[str], trials: pa.Table, home: Path) -> Galleries:
    """The first picture of each kind that each of ``arms`` has in ``home``."""
    found, left_out, room = [], [], PICTURES
    for name, title in _TITLES.items():
        shown: dict[str, Picture] = {}
        passed = set()
        for trial, path in standing_files(trials, home, name):
            arm = trial["arm"]
            if arm in shown or arm in passed:
                continue
            if path.stat().st_size > room:
                left_out.append(str(path.relative_to(home.resolve())))
                passed.add(arm)
                continue
            content = path.read_bytes()
            if content.startswith(_SIGNATURE) and len(content) > 24:
                shown[arm] = _picture(trial, content)
                room -= len(content)
        pictures = [shown[arm] for arm in arms if arm in shown]
        if pictures:
            found.append((title, pictures))
    return Galleries(found, left_out)


def _picture(trial: Mapping[str, Any], content: bytes) -> Picture:
    beta = "" if trial["beta"] is None else f"beta {trial['beta']:.3g}, "
    width, height = (int.from_bytes(content[at : at + 4], "big") for at in (16, 20))
    encoded = b64encode(content).decode()
    about = f"{beta}seed {trial['seed']}"
    return Picture(trial["arm"], trial["seed"], about, width, height, encoded)
