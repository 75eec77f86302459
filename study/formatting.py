"""Amounts as people read them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

NONE = "-"
"""What stands for a value that is not known."""


def size(count: int) -> str:
    """A number of bytes."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def duration(seconds: float) -> str:
    """A time span, to two digits or so."""
    if seconds < 90:
        return f"{max(0, round(seconds))} s"
    if seconds < 5400:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"


def timestamp(seconds: float) -> str:
    """A point in time, given in seconds since the Unix epoch."""
    return datetime.fromtimestamp(seconds, tz=UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def images(count: float | None) -> str:
    """A number of images, shortened from ten thousand on: 416k, 46.2M."""
    if count is None:
        return NONE
    for scale, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= 9.9995 * scale:  # what rounds to 10
            return f"{count / scale:.4g}{suffix}"
    return f"{count:.0f}"


def seconds(amount: float | None) -> str:
    """Device seconds."""
    return NONE if amount is None else f"{amount:,.1f}"


def multiple(ratio: float | None) -> str:
    """How many times something else, as "13.0", "0.65" or "0.0032"."""
    if ratio is None:
        return NONE
    return f"{ratio:.1f}" if ratio >= 1 else f"{ratio:.2f}" if ratio >= 0.1 else f"{ratio:.2g}"


def times(ratio: float | None) -> str:
    """How many times something else, in a sentence: "13", "3.2" or "0.65"."""
    if ratio is None:
        return NONE
    return f"{ratio:,.0f}" if ratio >= 10 else multiple(ratio).removesuffix(".0")


def short(value: float | None) -> str:
    """A number to three digits."""
    return NONE if value is None else f"{value:.3g}"


def setting(value: Any) -> str:
    """The value of a setting."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
