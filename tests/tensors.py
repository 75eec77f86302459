"""Comparing what models and banks keep."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def assert_equal(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> None:
    """The same names, and the same values to the last bit."""
    assert a.keys() == b.keys()
    assert [name for name in a if not torch.equal(a[name], b[name])] == []
