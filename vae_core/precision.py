"""The numbers that members of a bank are trained in; free of torch."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

Precision = Literal["float32", "bfloat16"]
"""What matrix products and convolutions take and give in training. Everything else is float32:
parameters, Adam, sampling z, S, R, losses; and evaluation is float32 altogether."""

_INSTRUCTIONS = {"avx512_bf16", "amx_bf16", "bf16"}
"""For products of bfloat16, as Linux names them: of x86 and of ARM."""


def has_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the processor multiplies bfloat16; True where the system does not say.

    Without its instructions torch multiplies number by number: a layer takes twelve times as long
    as in float32.
    """
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return True
    named = [line.partition(":")[2] for line in lines if line.startswith(("flags", "Features"))]
    return not named or any(_INSTRUCTIONS & set(line.split()) for line in named)
