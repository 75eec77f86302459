"""What running out of memory looks like."""

from __future__ import annotations

import pytest
import torch

from vae_core.memory import is_out_of_memory


def test_the_hosts_own_allocator() -> None:
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**50)
    assert is_out_of_memory(raised.value)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)"),
        RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`"),
        ValueError("out of memory of what came before"),
    ],
)
def test_what_is_none(error: Exception) -> None:
    assert not is_out_of_memory(error)
