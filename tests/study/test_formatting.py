"""Amounts as a person says them."""

from __future__ import annotations

import pytest

from study.formatting import duration, size


@pytest.mark.parametrize(
    ("count", "said"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (5 * 2**30, "5 GiB"), (3 * 2**40, "3.0 TiB")],
)
def test_sizes(count, said):
    assert size(count) == said


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-3, "0 s"), (0.4, "0 s"), (89.4, "89 s"), (91, "2 min"), (5399, "90 min"), (9000, "2.5 h")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text
