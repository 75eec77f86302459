"""A trial's checkpoints: checksummed files, written beside and renamed, the last two kept."""

from __future__ import annotations

import hashlib
import io
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_DIGEST = hashlib.sha256().digest_size
KEPT = 2


@dataclass(frozen=True)
class Saved:
    """A point a trial can go on from."""

    row: dict[str, Tensor]
    """The member's row of the bank."""
    reports: list[dict[str, Any]]
    """Every report up to here: the driver may not have heard of the last ones."""


def save(folder: Path, step: int, saved: Saved) -> None:
    """Write the checkpoint of report ``step``; what was there before survives any failure."""
    buffer = io.BytesIO()
    torch.save({"row": saved.row, "reports": json.dumps(saved.reports)}, buffer)
    payload = buffer.getvalue()
    folder.mkdir(parents=True, exist_ok=True)
    beside = folder / f".{step}.tmp"
    with beside.open("wb") as file:
        file.write(hashlib.sha256(payload).digest() + payload)
        file.flush()
        os.fsync(file.fileno())
    beside.rename(folder / f"{step}.ckpt")
    for old in _steps(folder)[:-KEPT]:
        (folder / f"{old}.ckpt").unlink()


def newest(folder: Path) -> Saved | None:
    """The newest checkpoint that is whole, or None."""
    for step in reversed(_steps(folder)):
        saved = _load(folder / f"{step}.ckpt")
        if saved is not None:
            return saved
    return None


def clear(folder: Path) -> None:
    """Remove a finished trial's checkpoints, and the folder if nothing else is in it."""
    for step in _steps(folder):
        (folder / f"{step}.ckpt").unlink()
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _steps(folder: Path) -> list[int]:
    return sorted(int(path.stem) for path in folder.glob("*.ckpt"))


def _load(path: Path) -> Saved | None:
    raw = path.read_bytes()
    if hashlib.sha256(raw[_DIGEST:]).digest() != raw[:_DIGEST]:
        return None
    # Tensors and text only: a checkpoint from elsewhere cannot run code.
    found = torch.load(io.BytesIO(raw[_DIGEST:]), weights_only=True)
    return Saved(found["row"], json.loads(found["reports"]))
