"""Memory of tensors: reuse of what is freed, and what running out of it looks like."""

from __future__ import annotations

import ctypes
import gc
import re
import sys

import torch

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
_OUT_OF_MEMORY = re.compile(r"(?i)out of memory|can't allocate memory|STATUS_\w*ALLOC")


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


def free_unused_memory() -> None:
    """Give back what only reference cycles hold, and what CUDA's allocator keeps for reuse."""
    gc.collect()
    torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that a device, or the host, has no memory left.

    Only torch's allocator of CUDA memory raises :class:`torch.OutOfMemoryError`. Graphs, cuBLAS,
    cuDNN and the allocator of the host raise other kinds of RuntimeError that say so.
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and _OUT_OF_MEMORY.search(str(error)) is not None
