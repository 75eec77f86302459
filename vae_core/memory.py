"""Reuse of memory that tensors have freed."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc's malloc.h


def keep_freed_memory() -> None:
    """Keep up to 128 MB that tensors have freed, for the next ones; for the process, with glibc.

    By default the system maps tensors of megabytes afresh at every step, in pages which
    are zeroed at first use: 5 to 10 % of the time of a small convolutional network.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, 32 << 20)
        mallopt(_TRIM_THRESHOLD, 128 << 20)
