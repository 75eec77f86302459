"""The distribution of a searched setting: a range of numbers or a list of choices."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from decimal import ROUND_DOWN, Context, Decimal
from typing import Any, TypeAlias

from study.spec.errors import fault, shown
from vae_core.errors import nearest

Scalar: TypeAlias = bool | int | float | str

CHANGEABLE = "training.lr"
"""The setting outside the balancer's that may change within a training."""
FLOAT_SETTINGS = ("training.lr", "training.epochs")
INT_SETTINGS = ("model.latent", "training.batch_size")


@dataclass(frozen=True)
class FloatRange:
    """Numbers from ``low`` to ``high``, uniform, or uniform in the logarithm.

    ``step`` restricts it to ``low + i * step``; ``points`` is how many values a grid visits.
    """

    low: float
    high: float
    log: bool = False
    step: float | None = None
    points: int | None = None

    def ends(self) -> list[Scalar]:
        """The extreme values that can be drawn."""
        return [self.low, self.high]

    def grid(self) -> list[Scalar] | None:
        """The values a grid visits, in ascending order; None without points or step."""
        if self.points is not None:
            return [*_spaced(self.low, self.high, self.points, log=self.log)]
        if self.step is not None:
            count = round((self.high - self.low) / self.step) + 1
            return [self.low + i * self.step for i in range(count)]
        return None

    def to_json(self) -> Any:
        """The range as a spec writes it, without the settings that are None."""
        return {key: value for key, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class IntRange:
    """Whole numbers from ``low`` to ``high``, both included, in steps of ``step``."""

    low: int
    high: int
    log: bool = False
    step: int | None = None
    points: int | None = None

    def ends(self) -> list[Scalar]:
        """The extreme values that can be drawn."""
        return [self.low, self.high]

    def grid(self) -> list[Scalar] | None:
        """The values a grid visits, in ascending order; None without points or step."""
        if self.points is not None:
            spaced = _spaced(self.low, self.high, self.points, log=self.log)
            return [*dict.fromkeys(round(value) for value in spaced)]
        if self.step is not None:
            return [*range(self.low, self.high + 1, self.step)]
        return None

    def to_json(self) -> Any:
        """The range as a spec writes it, without the settings that are None."""
        return {key: value for key, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class Choice:
    """One of ``values``, each equally likely."""

    values: tuple[Scalar, ...]

    def ends(self) -> list[Scalar]:
        """Every value that can be drawn."""
        return [*self.values]

    def grid(self) -> list[Scalar] | None:
        """The values a grid visits, in the order of the file."""
        return [*self.values]

    def to_json(self) -> Any:
        """The choices as a spec writes them: a list."""
        return [*self.values]


Distribution: TypeAlias = FloatRange | IntRange | Choice


def read_distribution(key: str, raw: Any) -> Distribution:
    """The distribution that ``raw``, the value of ``key`` in a space, describes.

    The key decides the type where it can: a balancer's hyperparameters (keys without a dot), the
    learning rate and the epochs are real numbers, latent and batch size whole ones. A range of
    any other setting is of whole numbers where both its ends are written as whole numbers;
    :func:`study.spec.names.check_beginning` refuses that where the setting takes real ones.

    Raises:
        PydanticCustomError: with the fault and the remedy.
    """
    if isinstance(raw, FloatRange | IntRange | Choice):
        return raw
    if isinstance(raw, list):
        return _choice(key, raw)
    if not isinstance(raw, Mapping):
        remedy = "give a range {low: ..., high: ..., log: true} or a list of choices"
        raise fault(f"{shown(raw)} is neither a range nor a list", remedy, key)
    known = [field.name for field in fields(FloatRange)]
    for name in raw:
        if name not in known:
            raise fault(f"unknown key '{name}'", nearest(str(name), known), key, str(name))
    values = {name: value for name, value in raw.items() if value is not None}
    for name in ("low", "high"):
        if name not in values:
            raise fault(f"'{name}' is missing", f"give the range's {name} end", key)
    return _range(key, values)


def read_value(key: str, distribution: Distribution, raw: Any, *path: str | int) -> Scalar:
    """``raw`` as a value of ``key`` that ``distribution`` could draw; ``path`` leads to it.

    Raises:
        PydanticCustomError: it could not.
    """
    choice = isinstance(distribution, Choice) and not _is_float_setting(key)
    value = drawable(distribution, raw if choice else number(raw))
    if value is None:
        raise fault(
            f"{shown(raw)} is not in the space of '{key}'", "give a value that is", *path, key
        )
    return value


def drawable(distribution: Distribution, value: Any) -> Scalar | None:
    """The value of ``distribution`` that ``value`` is, up to rounding; None: it is none."""
    if isinstance(distribution, Choice):
        same = (k for k in distribution.values if k == value and type(k) is type(value))
        return next(same, None)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    low, high, step = distribution.low, distribution.high, distribution.step
    if isinstance(distribution, IntRange):
        step = step or 1
    rounding = 1e-9 * max(abs(low), abs(high))
    if not low - rounding <= value <= high + rounding:
        return None
    if step is None:
        return min(max(float(value), low), high)
    steps = (value - low) / step
    if abs(steps - round(steps)) > 1e-6 * max(1.0, steps):
        return None
    highest = float(_decimal(low) + round((high - low) / step) * _decimal(step))
    return min(low + round(steps) * step, highest)  # a float's rounding would be beyond it


def section_of(key: str) -> tuple[str, str]:
    """The section and the setting that a space's key names: without a dot, the balancer's."""
    section, _, name = key.rpartition(".")
    return section or "balancer", name


def number(value: Any) -> Any:
    """``value`` as a float where it is a number or the text of one, else unchanged.

    YAML 1.1 reads ``1e-3``, which has no dot, as text.
    """
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def whole(value: Any) -> Any:
    """``value`` as an int where it is a whole number (``1e4``), else unchanged."""
    read = number(value)
    return int(read) if isinstance(read, float) and read.is_integer() else value


def _is_float_setting(key: str) -> bool:
    return "." not in key or key in FLOAT_SETTINGS


def _choice(key: str, raw: list[Any]) -> Choice:
    remedy = "give a list of at least one number, text or true/false, each once"
    if not raw:
        raise fault("an empty list of choices", remedy, key)
    whole_ones = key in INT_SETTINGS
    convert = number if _is_float_setting(key) else whole if whole_ones else lambda value: value
    values = tuple(convert(value) for value in raw)
    for i, value in enumerate(values):
        finite = not isinstance(value, float) or math.isfinite(value)
        if not isinstance(value, bool | int | float | str) or not finite:
            raise fault(f"{shown(value)} cannot be a choice", remedy, key, i)
        if whole_ones and (not isinstance(value, int) or isinstance(value, bool)):
            raise fault(f"{shown(value)} is no whole number", "use whole numbers", key, i)
        if value in values[:i]:
            raise fault(f"{shown(value)} is given twice", remedy, key, i)
    return Choice(values)


def _range(key: str, raw: dict[str, Any]) -> FloatRange | IntRange:
    values = {name: _read_number(key, name, raw[name]) for name in ("low", "high")}
    written_whole = all(isinstance(whole(raw[name]), int) for name in values)
    literal_float = any(isinstance(raw[name], float) for name in values)
    if key in INT_SETTINGS and not written_whole:
        raise fault("an end of a range of whole numbers is not whole", "use whole numbers", key)
    is_int = key in INT_SETTINGS or (
        written_whole and not literal_float and not _is_float_setting(key)
    )
    low, high = values["low"], values["high"]
    if low >= high:
        remedy = "put the smaller number in low; to fix a setting, set it outside the space"
        raise fault(f"the range is empty: low {low:g} is not below high {high:g}", remedy, key)
    log = raw.get("log", False)
    if not isinstance(log, bool):
        raise fault(f"{shown(log)} is not true or false", "give log: true or false", key, "log")
    if log and low <= 0:
        remedy = "a log range needs low > 0: raise low, or leave out log"
        raise fault(f"low {low:g} has no logarithm", remedy, key, "low")
    points = _points(key, raw.get("points"))
    step = _step(key, raw["step"], low, high, log=log) if "step" in raw else None
    if not is_int:
        return FloatRange(low, high, log, step, points)
    if step is not None and not step.is_integer():
        raise fault(f"step {step:g} is not a whole number", "use a whole step", key, "step")
    return IntRange(int(low), int(high), log, None if step is None else int(step), points)


def _read_number(key: str, name: str, raw: Any) -> float:
    value = number(raw)
    if not isinstance(value, float) or not math.isfinite(value):
        raise fault(f"{shown(raw)} is not a number", f"give a number as {name}", key, name)
    return value


def _points(key: str, raw: Any) -> int | None:
    points = whole(raw)
    if raw is not None and (type(points) is not int or points < 2):
        remedy = "give a whole number of grid points, 2 or more"
        raise fault(f"points {shown(raw)} is not possible", remedy, key, "points")
    return None if raw is None else points


def _step(key: str, raw: Any, low: float, high: float, *, log: bool) -> float:
    step = _read_number(key, "step", raw)
    if log:
        raise fault("a log range has no step", "leave out step, or leave out log", key, "step")
    if step <= 0:
        raise fault(f"step {step:g} is not above 0", "give a step above 0", key, "step")
    count = (high - low) / step
    if abs(count - round(count)) > 1e-6 * max(1.0, count):
        end = f"{low + math.floor(count) * step:.12g}"
        remedy = f"use high: {end}" if count >= 1 else f"give a step of at most {high - low:.12g}"
        raise fault(f"steps of {step:g} from {low:g} miss high {high:g}", remedy, key, "step")
    # A step that is rounded up would lose Optuna the highest value.
    width = _decimal(high) - _decimal(low)
    if round(count) * _decimal(step) <= width:
        return step
    return float(Context(prec=12, rounding=ROUND_DOWN).divide(width, Decimal(round(count))))


def _decimal(value: float) -> Decimal:
    """``value`` as it is written: Optuna counts steps in decimals."""
    return Decimal(str(value))


def _spaced(low: float, high: float, count: int, *, log: bool) -> list[float]:
    if log:
        return [
            *(math.exp(value) for value in _spaced(math.log(low), math.log(high), count, log=False))
        ]
    return [low + (high - low) * i / (count - 1) for i in range(count)]
