"""The numbers that members of a bank are trained in; free of torch."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

Precision = Literal["float32", "bfloat16"]
"""What matrix products and convolutions take and give in training. Everything else is float32:
parameters, Adam, sampling z, S, R, losses; and evaluation is float32 altogether."""

_INSTRUCTIONS = ({"avx512bw", "avx512vl", "avx512dq"}, {"avx_ne_convert"}, {"bf16"})
"""Of x86 and of ARM, as Linux names them: with any of these sets oneDNN multiplies bfloat16 for
torch, in float32 where the processor has no instruction for it."""


def has_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether torch multiplies bfloat16 by a library here; True where the system does not say.

    Else it does so number by number: a layer takes twelve times as long as in float32.
    """
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return True
    named = [line.partition(":")[2] for line in lines if line.startswith(("flags", "Features"))]
    return not named or any(known <= set(line.split()) for line in named for known in _INSTRUCTIONS)
