"""The numbers that members of a bank are trained in; free of torch."""

from __future__ import annotations

from typing import Literal

Precision = Literal["float32", "bfloat16"]
"""What matrix products and convolutions take and give in training. Everything else is float32:
parameters, Adam, sampling z, S, R, losses; and evaluation is float32 altogether."""
