"""Amounts as a person says them."""

from __future__ import annotations

import pytest

from study.analysis.answers.multi_study_sentences import times
from study.formatting import duration, images, size


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


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (9_999, "9999"),
        (10_000, "10k"),
        (416_000, "416k"),
        (9_994_000, "9994k"),
        (9_999_872, "10M"),
        (46_200_000, "46.2M"),
        (None, "-"),
    ],
)
def test_images(count, said):
    assert images(count) == said


def test_a_multiple_below_one_is_not_0():
    assert (times(0.04, 0.04), times(0.52, 13), times(9, 13)) == ("0.04", "0.5-13.0", "9.0-13.0")
