"""What fixes the last bit, for a while."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from vae_core import numerics
from vae_core.numerics import numerics_key, settled_kernels


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


ASKED = {
    "all of torch": "torch.backends.fp32_precision = 'tf32'",
    "cuDNN": "torch.backends.cudnn.fp32_precision = 'tf32'; torch.backends.cudnn.benchmark = True",
    "products": "torch.backends.cuda.matmul.fp32_precision = 'tf32'",
    "older names": "torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True",
    "products, on CPUs too": "torch.set_float32_matmul_precision('medium')",
}
CHECK = """
import torch
from vae_core.numerics import settled_kernels
b = torch.backends
parts = b.cuda.matmul, b.cudnn.conv, b.cudnn.rnn, b.mkldnn.matmul, b.mkldnn.conv, b.mkldnn.rnn
def older(read):
    try:
        return read()
    except RuntimeError:
        return "not to be read"
def chosen():
    return [p.fp32_precision for p in parts], b.cudnn.benchmark
def by_older_names():
    names = lambda: b.cudnn.allow_tf32, lambda: b.cuda.matmul.allow_tf32
    return [older(read) for read in (*names, torch.get_float32_matmul_precision)]
{asked}
before, said = chosen(), by_older_names()
with settled_kernels(threads=1):
    assert chosen() == (["ieee"] * 6, False), chosen()
    assert not b.cudnn.allow_tf32 and not b.cuda.matmul.allow_tf32  # who asks by the older names
    assert torch.get_float32_matmul_precision() == "highest"
assert chosen() == before, (chosen(), before)
assert by_older_names() == said, (by_older_names(), said)
"""


@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED)
def test_what_a_users_module_asked_of_the_kernels_is_not_inherited(asked: str) -> None:
    """Each in a process of its own: torch has no way to ask for nothing again."""
    subprocess.run([sys.executable, "-c", CHECK.format(asked=asked)], check=True)


CPU = torch.device("cpu")


def test_a_key_names_all_that_fixes_the_last_bit() -> None:
    key = numerics_key(CPU, 4, "float32")
    assert key.keys() == {"device", "torch", "dtype", "compiled", "threads", "width"}
    assert (key["dtype"], key["width"]) == ("float32", 4)
    assert key["threads"] == torch.get_num_threads()
    assert key == numerics_key(CPU, 4, "float32")


def test_a_key_differs_by_width_precision_threads_and_processor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with settled_kernels(threads=1):
        keys = [numerics_key(CPU, 4, "float32")]
        keys += [numerics_key(CPU, 5, "float32"), numerics_key(CPU, 4, "bfloat16")]
        with settled_kernels(threads=2):
            keys.append(numerics_key(CPU, 4, "float32"))
        monkeypatch.setattr(numerics, "_cpu_model", lambda: "another processor")
        keys.append(numerics_key(CPU, 4, "float32"))
    assert len({repr(key) for key in keys}) == len(keys)
