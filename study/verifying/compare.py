"""Comparing a trial's recorded numbers with those of training it again, bit by bit."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

Value = float | str | None
_LISTED = 5  # differences that the text shows


@dataclass(frozen=True)
class Mismatch:
    """A value that differs from the recorded one."""

    where: str
    """``report 3``, ``test``, ``end``, ``image scores`` or ``weights``."""
    name: str
    """The metric's or the tensor's."""
    recorded: Value
    """None: there was none."""
    found: Value
    relative: float | None
    """To the larger of the two, in a tensor to its largest entry; None if not a number."""

    def __str__(self) -> str:
        times = "" if self.relative is None else f", a relative difference of {self.relative:.2g}"
        return f"{self.where}: {self.name} was {self.recorded!r} and is {self.found!r}{times}"


@dataclass(frozen=True)
class Training:
    """The trial trained once more, and the comparison."""

    start: str
    """What it started from, in words."""
    slot: int
    """Its row of the bank, from 1."""
    beside: Sequence[str]
    """The trials that trained beside it."""
    metrics: int
    """Values of reports and of the end that were compared, and scores of single images."""
    weights: int | None
    """Weights that were compared; None if the trial has none."""
    differences: Sequence[Mismatch]

    @property
    def largest(self) -> Mismatch | None:
        """The largest difference; one that is not a number counts as larger than any."""
        size = {id(d): math.inf if d.relative is None else d.relative for d in self.differences}
        return max(self.differences, key=lambda d: size[id(d)], default=None)


@dataclass(frozen=True)
class Verification:
    """The result of training a trial again."""

    study: str
    trial: str
    why: str
    """Why this trial was chosen, in words."""
    slots: int
    """K, the width of its banks."""
    keys: Mapping[str, tuple[Value, Value]]
    """Where the recorded numerics key and the one here differ: recorded, here."""
    trainings: Sequence[Training]
    left_out: Sequence[str]
    """What could not be compared, in words."""

    @property
    def agrees(self) -> bool:
        """Whether all compared values are equal to the last bit."""
        return not any(training.differences for training in self.trainings)

    @property
    def failed(self) -> bool:
        """Whether something differs under an equal numerics key."""
        return not self.agrees and not self.keys

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON-able values; numbers that are not finite become text."""
        found: dict[str, Any] = _jsonable(asdict(self))
        return {**found, "agrees": self.agrees, "failed": self.failed}

    def __str__(self) -> str:
        lines = [f"{self.study}: {self.trial}, {self.why}, trained again in banks of {self.slots}"]
        for name, (recorded, here) in self.keys.items():
            lines.append(f"  another numerics key: {name} was {recorded!r} and is {here!r} here")
        for training in self.trainings:
            lines += _described(training, self.slots)
        lines += [f"  left out: {what}" for what in self.left_out]
        if self.agrees:
            lines.append("all agree to the last bit")
        elif self.failed:
            lines.append("THE RECORDED NUMBERS DIFFER, and the numerics key is the same")
        else:
            lines.append("under another numerics key the last bits may differ")
        return "\n".join(lines)


def compare_reports(
    recorded: Mapping[int, Mapping[str, Value]], found: Mapping[int, Mapping[str, Value]]
) -> tuple[int, list[Mismatch]]:
    """The number of recorded values, and the differences, in reports: step -> name -> value.

    Values that were not recorded (of a newer metric) are not compared.
    """
    count, differences = 0, list[Mismatch]()
    for step in sorted({*recorded, *found}):
        before, now = recorded.get(step), found.get(step)
        if before is None or now is None:
            was, is_ = ("missing" if side is None else "made" for side in (before, now))
            differences.append(Mismatch(f"report {step}", "the report", was, is_, None))
            continue
        count += len(before)
        differences += compare_values(f"report {step}", before, now)
    return count, differences


def compare_values(
    where: str, recorded: Mapping[str, Value], found: Mapping[str, Value]
) -> Iterator[Mismatch]:
    """The recorded values that differ from those found."""
    for name, before in recorded.items():
        now = found.get(name)
        if not _equal(before, now):
            yield Mismatch(where, name, before, now, _relative(before, now))


def compare_tensors(
    where: str, recorded: Mapping[str, Tensor], found: Mapping[str, Tensor]
) -> tuple[int, list[Mismatch]]:
    """The number of recorded entries, and the largest difference of each differing tensor."""
    differences = []
    for name in [*recorded, *(name for name in found if name not in recorded)]:
        before, now = recorded.get(name), found.get(name)
        if before is None or now is None or before.shape != now.shape or before.dtype != now.dtype:
            differences.append(Mismatch(where, name, _kind(before), _kind(now), None))
        elif not torch.equal(_bytes(before), _bytes(now)):
            differences.append(_largest(where, name, before, now))
    return sum(tensor.numel() for tensor in recorded.values()), differences


def _largest(where: str, name: str, before: Tensor, now: Tensor) -> Mismatch:
    a, b = before.flatten().double(), now.flatten().double()
    apart = (a - b).abs()
    at = int(apart.nan_to_num(nan=math.inf).argmax())
    scale = float(torch.maximum(a.abs().max(), b.abs().max()))
    finite = math.isfinite(scale) and math.isfinite(float(apart[at]))
    relative = float(apart[at]) / scale if finite and scale else (0.0 if finite else None)
    return Mismatch(where, f"{name}, entry {at}", float(a[at]), float(b[at]), relative)


def _kind(tensor: Tensor | None) -> str | None:
    return None if tensor is None else f"{tensor.dtype} {list(tensor.shape)}"


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.contiguous().flatten().view(torch.uint8)


def _equal(before: Value, now: Value) -> bool:
    if isinstance(before, int | float) and isinstance(now, int | float):
        return struct.pack("d", before) == struct.pack("d", now)
    return before == now


def _relative(before: Value, now: Value) -> float | None:
    if not isinstance(before, int | float) or not isinstance(now, int | float):
        return None
    if not math.isfinite(before) or not math.isfinite(now):
        return None
    scale = max(abs(before), abs(now))
    return abs(before - now) / scale if scale else 0.0


def shortened(names: Sequence[str]) -> str:
    """The first few of ``names``, and how many more there are."""
    shown = ", ".join(names[:_LISTED]) or "no other trial"
    more = len(names) - _LISTED
    return f"{shown} and {more:,} more" if more > 0 else shown


def _described(training: Training, slots: int) -> Iterator[str]:
    beside = shortened(training.beside)
    yield f"  {training.start}, in slot {training.slot} of {slots}, beside {beside}:"
    compared = f"{training.metrics:,} metrics"
    if training.weights is not None:
        compared += f" and {training.weights:,} weights"
    largest = training.largest
    if largest is None:
        yield f"    {compared} agree to the last bit"
        return
    count = f"{len(training.differences):,} metrics and tensors"
    yield f"    of {compared}, {count} differ, most of all"
    yield f"      {largest}"
    others = [found for found in training.differences if found is not largest]
    yield from (f"      {found}" for found in others[: _LISTED - 1])
    if len(others) >= _LISTED:
        yield f"      and {len(others) - _LISTED + 1:,} more"


def _jsonable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
