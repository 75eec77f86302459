"""The numerics key: everything that fixes the last bit of a trial's numbers."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch

from vae_core.precision import Precision


def numerics_key(
    device: torch.device, width: int, precision: Precision
) -> dict[str, str | int | bool]:
    """The key of a bank of ``width`` rows on ``device`` in this process."""
    return {
        "device": _device_kind(device),
        "torch": str(
            torch.__version__
        ),  # a plain string: its own class would need torch to be read
        "dtype": precision,
        "compiled": False,
        "threads": torch.get_num_threads(),
        "width": width,
    }


_CUBLAS: Any = torch.backends.cuda.matmul
_CUDNN: Any = torch.backends.cudnn
_ONEDNN: Any = torch.backends.mkldnn
_PRODUCTS = _CUBLAS, _CUDNN.conv, _CUDNN.rnn, _ONEDNN.matmul, _ONEDNN.conv, _ONEDNN.rnn
"""Whose precision torch lets one choose, each by itself."""


def settle_kernels() -> None:
    """Make torch's libraries deterministic and compute float32 in float32, for the whole process.

    Call it before the process first uses a GPU. By default cuBLAS and cuDNN may add in another
    order each time, and convolutions round float32 to TensorFloat-32. A user's module may have
    asked for more: TensorFloat-32 or bfloat16 everywhere, or the kernels that time fastest.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    _CUDNN.deterministic, _CUDNN.benchmark = True, False
    # The older names first, for who reads them: they say nothing of what is inherited.
    _CUDNN.allow_tf32 = _CUBLAS.allow_tf32 = False
    for part in _PRODUCTS:
        part.fp32_precision = "ieee"
    # Products of bfloat16 are summed in float32 to their end, in parts of the sum too.
    _CUBLAS.allow_bf16_reduced_precision_reduction = False


@contextmanager
def settled_kernels(threads: int) -> Iterator[None]:
    """The same for a while, and on so many CPU threads: what was chosen before is put back."""
    chosen = _CUDNN.deterministic, _CUDNN.benchmark
    sums = _CUBLAS.allow_bf16_reduced_precision_reduction
    older = [(of, _readable(partial(getattr, of, "allow_tf32"))) for of in (_CUDNN, _CUBLAS)]
    oldest = _readable(torch.get_float32_matmul_precision)
    precisions = [part.fp32_precision for part in _PRODUCTS]
    threads_before = torch.get_num_threads()
    settle_kernels()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(threads_before)
        _CUDNN.deterministic, _CUDNN.benchmark = chosen
        _CUBLAS.allow_bf16_reduced_precision_reduction = sums
        for of, allowed in older:
            if allowed is not None:
                of.allow_tf32 = allowed
        if oldest is not None:
            torch.set_float32_matmul_precision(oldest)
        for part, precision in zip(_PRODUCTS, precisions, strict=True):
            part.fp32_precision = precision


def _readable(read: Callable[[], Any]) -> Any:
    """What is read by an older name; None where torch refuses, as a newer one chose it."""
    try:
        return read()
    except RuntimeError:
        return None


def _device_kind(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    # Which kernels a CPU runs follows from its instruction sets and, in the libraries' own
    # dispatch, from its model.
    return f"{_cpu_model()} ({torch.backends.cpu.get_cpu_capability()})"


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
