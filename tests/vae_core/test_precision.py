"""What a processor says of bfloat16."""

from __future__ import annotations

from pathlib import Path

import pytest

from vae_core.precision import has_bfloat16

TWO_CORES = "processor : 0\n{line}\n\nprocessor : 1\n{line}\n"


@pytest.mark.parametrize(
    ("line", "has"),
    [
        ("flags\t\t: fpu avx2 avx512f avx512dq avx512bw avx512vl avx512_bf16", True),
        ("flags\t\t: fpu avx2 avx512f avx512dq avx512bw avx512vl", True),
        ("flags\t\t: fpu avx2 avx_vnni avx_ne_convert", True),
        ("Features\t: fp asimd i8mm bf16", True),
        ("flags\t\t: fpu avx2 avx512f avx512_vnni", False),
        ("model name\t: bf16", True),  # it says nothing of instructions
    ],
)
def test_instructions_for_bfloat16_are_read_off_linux(tmp_path: Path, line: str, has: bool) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text(TWO_CORES.format(line=line))
    assert has_bfloat16(file) is has
    assert has_bfloat16(tmp_path / "none")
