"""A trial's checkpoints: checksummed files, each written whole or not at all.

A file is named ``<optimiser steps>-<lease epoch of its writer>.ckpt`` and holds a SHA-256 and the
payload it is of. Torch is imported only where tensors are read or written: the driver, which
removes checkpoints once a trial has ended, does neither.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from study.metrics import present_names
from vae_core.atomic import atomic_write

if TYPE_CHECKING:
    from torch import Tensor

KEPT = 2
"""Checkpoints that stay while a trial runs: the newest, and one before it in case it is torn."""

_DIGEST = hashlib.sha256().digest_size
_NAME = re.compile(r"(\d{9,})-(\d{6,})\.ckpt")
_PARTIAL = re.compile(r"\.\d{9,}-(\d{6,})\.ckpt(?:\.\w+)?\.partial")


@dataclass(frozen=True)
class Saved:
    """A point that a trial can resume from."""

    row: dict[str, Tensor]
    """The member's row of the bank, inside a segment or at a report."""
    reports: list[dict[str, Any]]
    """Every report up to here: the last ones may not have reached the driver."""
    pending: dict[str, Any] | None = None
    """The trial's last report, made here, while its final evaluation is not done."""

    @property
    def steps(self) -> int:
        """Optimiser steps made."""
        return int(self.row["step"])

    def to_bytes(self) -> bytes:
        """The payload of a checkpoint."""
        import torch

        buffer = io.BytesIO()
        texts = {"reports": json.dumps(self.reports), "pending": json.dumps(self.pending)}
        torch.save({"row": self.row, **texts}, buffer)
        return buffer.getvalue()

    @classmethod
    def of(cls, payload: bytes) -> Saved | None:
        """The inverse of :meth:`to_bytes`; None where that is no checkpoint."""
        import torch

        try:
            # Tensors and text only: a checkpoint from elsewhere cannot run code.
            found = torch.load(io.BytesIO(payload), weights_only=True)
            reports = [_of_now(report) for report in json.loads(found["reports"])]
            pending = json.loads(found.get("pending", "null"))
            saved = cls(found["row"], reports, pending and _of_now(pending))
            ours = saved.steps >= 0 and saved.row["history"].ndim == 2
        except Exception:  # whole, but not a checkpoint: unpicklers raise anything
            return None
        return saved if ours else None


class _File(NamedTuple):
    """A checkpoint's file; sorts by age."""

    steps: int
    epoch: int
    path: Path


def save(folder: Path, saved: Saved, *, epoch: int, keep: str) -> None:
    """Write ``saved`` (see :func:`write`)."""
    write(folder, saved.steps, saved.to_bytes(), epoch=epoch, keep=keep)


def write(folder: Path, steps: int, payload: bytes, *, epoch: int, keep: str) -> None:
    """Write a checkpoint under lease epoch ``epoch``; what was there survives any failure.

    Unless ``keep`` is ``all``, this removes those older than the last two, and damaged ones of more
    steps. Files of a higher epoch are another driver's and stay. Two engines may train one trial
    for a while, and write at once: where one has lost its node but not its disk.

    Args:
        folder: the trial's.
        steps: optimiser steps made.
        payload: of :meth:`Saved.to_bytes`.
        epoch: of the writer's lease.
        keep: the spec's.

    Raises:
        OSError: it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(folder / f"{steps:09d}-{epoch:06d}.ckpt", alone=False) as out:
        out.write(hashlib.sha256(payload).digest() + payload)
    for partial, writer in _partials(folder):
        if writer < epoch:
            partial.unlink(missing_ok=True)
    if keep == "all":
        return
    files = [file for file in _files(folder) if file.epoch <= epoch]
    latest = {file.steps: file for file in files if file.steps <= steps}
    for file in files:
        superseded = file.steps <= steps or _payload(file.path) is None
        if superseded and file not in list(latest.values())[-KEPT:]:
            file.path.unlink(missing_ok=True)


def newest(folder: Path) -> Saved | None:
    """The whole checkpoint of most steps, or None.

    Torn, damaged and foreign files are skipped.
    """
    return next(resumable(payloads(folder)), None)


def at(folder: Path, report: int) -> Saved | None:
    """The checkpoint of report ``report``, or None where it is gone or damaged."""
    for saved in resumable(payloads(folder)):
        here = len(saved.reports) == report and saved.pending is None
        if here and not len(saved.row["history"]):
            return saved
    return None


def payloads(folder: Path) -> Iterator[tuple[int, bytes]]:
    """Steps and payload of every checkpoint that is whole, most steps first."""
    for file in reversed(_files(folder)):
        payload = _payload(file.path)
        if payload is not None:
            yield file.steps, payload


def resumable(found: Iterable[tuple[int, bytes]]) -> Iterator[Saved]:
    """Those of ``found``, steps and payloads, that a trial can resume from."""
    for steps, payload in found:
        saved = Saved.of(payload)
        if saved is not None and saved.steps == steps:
            yield saved


def retire(folder: Path, keep: str) -> None:
    """Keep ``none`` of an ended trial's checkpoints, the ``last`` that is whole, or ``all``.

    Files that a killed engine left unfinished go, and an empty folder too.
    """
    for partial in folder.glob(".*.partial"):
        partial.unlink(missing_ok=True)
    if keep == "all":
        return
    files = list(reversed(_files(folder)))
    kept = next((f for f in files if _payload(f.path)), None) if keep == "last" else None
    for file in files:
        if file is not kept:
            file.path.unlink(missing_ok=True)
    with suppress(OSError):  # other files are in it, or an engine begins one this moment
        folder.rmdir()


def _files(folder: Path) -> list[_File]:
    """All files with a checkpoint's name, oldest first."""
    if not folder.is_dir():
        return []
    found = ((_NAME.fullmatch(path.name), path) for path in folder.iterdir())
    return sorted(_File(int(name[1]), int(name[2]), path) for name, path in found if name)


def _partials(folder: Path) -> list[tuple[Path, int]]:
    """Unfinished files of killed writers, with their epochs."""
    if not folder.is_dir():
        return []
    found = ((path, _PARTIAL.fullmatch(path.name)) for path in folder.iterdir())
    return [(path, int(name[1])) for path, name in found if name]


def _payload(path: Path) -> bytes | None:
    """The file's payload, or None where its checksum is wrong or it cannot be read."""
    try:
        raw = path.read_bytes()
    except OSError:
        return None
    payload = raw[_DIGEST:]
    return payload if hashlib.sha256(payload).digest() == raw[:_DIGEST] else None


def _of_now(report: dict[str, Any]) -> dict[str, Any]:
    return {**report, "metrics": present_names(report["metrics"])}
