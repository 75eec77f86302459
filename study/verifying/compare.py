"""Comparing a trial's recorded numbers with those of training it again, to the last bit."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

Value = float | str | None
_LISTED = 5  # differences that the text names


@dataclass(frozen=True)
class Difference:
    """A value that came out another."""

    where: str
    """``report 3``, ``test``, ``end`` or ``weights``."""
    name: str
    """The metric's or the tensor's."""
    recorded: Value
    """None: there was none."""
    found: Value
    relative: float | None
    """To the larger of the two, in a tensor to its largest entry; None where that is no number."""

    def __str__(self) -> str:
        times = "" if self.relative is None else f", a relative difference of {self.relative:.2g}"
        return f"{self.where}: {self.name} was {self.recorded!r} and is {self.found!r}{times}"


@dataclass(frozen=True)
class Training:
    """The trial trained once more, and how that compares."""

    start: str
    """What it began from, in words."""
    slot: int
    """Its row of the bank, from 1."""
    beside: Sequence[str]
    """Who trained beside it, in words."""
    metrics: int
    """Values of reports and of the end that were compared."""
    weights: int | None
    """Weights that were compared; None if the trial has left none."""
    differences: Sequence[Difference]

    @property
    def largest(self) -> Difference | None:
        """The difference that matters most: one that is no number, else the largest."""
        size = {id(d): math.inf if d.relative is None else d.relative for d in self.differences}
        return max(self.differences, key=lambda d: size[id(d)], default=None)


@dataclass(frozen=True)
class Verification:
    """What came of training a trial again."""

    study: str
    trial: str
    why: str
    """Why it was this trial, in words."""
    slots: int
    """K, the width of its banks."""
    keys: Mapping[str, tuple[Value, Value]]
    """Where the numerics key it was trained under and the one here differ: there, here."""
    trainings: Sequence[Training]
    left_out: Sequence[str]
    """What could not be done, in words."""

    @property
    def agrees(self) -> bool:
        """Whether all that was compared is equal to the last bit."""
        return not any(training.differences for training in self.trainings)

    @property
    def failed(self) -> bool:
        """Whether something differs that, under one numerics key, may not."""
        return not self.agrees and not self.keys

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON-able values; what is not finite becomes text."""
        found: dict[str, Any] = _plain(asdict(self))
        return {**found, "agrees": self.agrees, "failed": self.failed}

    def __str__(self) -> str:
        lines = [f"{self.study}: {self.trial}, {self.why}, trained again in banks of {self.slots}"]
        for name, (there, here) in self.keys.items():
            lines.append(f"  another numerics key: {name} was {there!r} and is {here!r} here")
        for training in self.trainings:
            lines += _told(training, self.slots)
        lines += [f"  left out: {what}" for what in self.left_out]
        if self.agrees:
            lines.append("all agree to the last bit")
        elif self.failed:
            lines.append("THE JOURNAL HAS OTHER NUMBERS, and the numerics key is the same")
        else:
            lines.append("under another numerics key the last bits may differ")
        return "\n".join(lines)


def compare_reports(
    recorded: Mapping[int, Mapping[str, Any]], found: Mapping[int, Mapping[str, Any]]
) -> tuple[int, list[Difference]]:
    """How many values the reports of equal step hold, and those that differ.

    Values that were not recorded (a metric that came later) are not compared.
    """
    count, differences = 0, list[Difference]()
    for step in sorted({*recorded, *found}):
        there, here = recorded.get(step), found.get(step)
        if there is None or here is None:
            was, is_ = ("missing" if side is None else "made" for side in (there, here))
            differences.append(Difference(f"report {step}", "the report", was, is_, None))
            continue
        values = [{"images": report["images"], **report["metrics"]} for report in (there, here)]
        count += len(values[0])
        differences += compare_values(f"report {step}", *values)
    return count, differences


def compare_values(
    where: str, recorded: Mapping[str, Value], found: Mapping[str, Value]
) -> Iterator[Difference]:
    """Those of the recorded values that came out others."""
    for name, there in recorded.items():
        here = found.get(name)
        if not _equal(there, here):
            yield Difference(where, name, there, here, _relative(there, here))


def compare_weights(
    recorded: Mapping[str, Tensor], found: Mapping[str, Tensor]
) -> tuple[int, list[Difference]]:
    """How many weights were recorded, and for each tensor that differs where it does most."""
    differences = []
    for name in [*recorded, *(name for name in found if name not in recorded)]:
        there, here = recorded.get(name), found.get(name)
        if there is None or here is None or there.shape != here.shape or there.dtype != here.dtype:
            differences.append(Difference("weights", name, _kind(there), _kind(here), None))
        elif not torch.equal(_bytes(there), _bytes(here)):
            differences.append(_where_most(name, there, here))
    return sum(tensor.numel() for tensor in recorded.values()), differences


def _where_most(name: str, there: Tensor, here: Tensor) -> Difference:
    a, b = there.flatten().double(), here.flatten().double()
    apart = (a - b).abs()
    at = int(apart.nan_to_num(nan=math.inf).argmax())
    scale = float(torch.maximum(a.abs().max(), b.abs().max()))
    finite = math.isfinite(scale) and math.isfinite(float(apart[at]))
    relative = float(apart[at]) / scale if finite and scale else (0.0 if finite else None)
    return Difference("weights", f"{name}, entry {at}", float(a[at]), float(b[at]), relative)


def _kind(tensor: Tensor | None) -> str | None:
    return None if tensor is None else f"{tensor.dtype} {list(tensor.shape)}"


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.contiguous().flatten().view(torch.uint8)


def _equal(there: Value, here: Value) -> bool:
    if isinstance(there, int | float) and isinstance(here, int | float):
        return struct.pack("d", there) == struct.pack("d", here)
    return there == here


def _relative(there: Value, here: Value) -> float | None:
    if not isinstance(there, int | float) or not isinstance(here, int | float):
        return None
    if not math.isfinite(there) or not math.isfinite(here):
        return None
    scale = max(abs(there), abs(here))
    return abs(there - here) / scale if scale else 0.0


def shortened(names: Sequence[str]) -> str:
    """The first few of ``names``, and how many more there are."""
    shown = ", ".join(names[:_LISTED]) or "nobody"
    more = len(names) - _LISTED
    return f"{shown} and {more:,} more" if more > 0 else shown


def _told(training: Training, slots: int) -> Iterator[str]:
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


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
