"""Amounts as a person says them."""

from __future__ import annotations

import pytest

from study.formatting import size


@pytest.mark.parametrize(
    ("count", "said"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (5 * 2**30, "5 GiB"), (3 * 2**40, "3.0 TiB")],
)
def test_sizes(count, said):
    assert size(count) == said
