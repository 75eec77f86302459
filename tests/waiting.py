"""Waiting for what another thread or process does."""

from __future__ import annotations

import time
from collections.abc import Callable


def until(
    seen: Callable[[], object], what: str, patience: float = 60.0, pause: float = 0.005
) -> None:
    """Wait until ``seen`` returns something true; ask every ``pause`` s.

    Raises:
        AssertionError: not in ``patience`` s; it says ``what`` was not seen.
    """
    deadline = time.monotonic() + patience
    while not seen():
        assert time.monotonic() < deadline, f"waited {patience:g} s for {what}"
        time.sleep(pause)
