"""The numerics key: everything that fixes the last bit of a trial's numbers."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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


def settle_kernels() -> None:
    """Make CUDA's libraries deterministic and compute float32 in float32, for the whole process.

    Call it before the process first uses a GPU. By default cuBLAS and cuDNN may add in another
    order each time, and convolutions round float32 to TensorFloat-32.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    # Products of bfloat16 are summed in float32 to their end, in parts of the sum too.
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False


@contextmanager
def settled_kernels(threads: int) -> Iterator[None]:
    """The same for a while, and on so many CPU threads: what was chosen before is put back."""
    cudnn, products = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.deterministic, cudnn.allow_tf32, products.allow_tf32
    sums = products.allow_bf16_reduced_precision_reduction
    threads_before = torch.get_num_threads()
    settle_kernels()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(threads_before)
        cudnn.deterministic, cudnn.allow_tf32, products.allow_tf32 = before
        products.allow_bf16_reduced_precision_reduction = sums


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
