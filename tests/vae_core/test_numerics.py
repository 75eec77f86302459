"""What fixes the last bit, for a while."""

from __future__ import annotations

import torch

from vae_core.numerics import settled_kernels


def chosen() -> tuple[bool, bool, bool, bool, int]:
    products = torch.backends.cuda.matmul
    return (
        torch.backends.cudnn.deterministic,
        torch.backends.cudnn.allow_tf32,
        products.allow_tf32,
        products.allow_bf16_reduced_precision_reduction,
        torch.get_num_threads(),
    )


def test_what_the_process_had_chosen_is_put_back() -> None:
    before = chosen()
    with settled_kernels(threads=1):
        assert chosen() == (True, False, False, False, 1)
    assert chosen() == before
