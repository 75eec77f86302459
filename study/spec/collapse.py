"""When a confirm run counts as collapsed: said before the study runs, as no mean tells of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from study.spec.base import Number, Section


class CollapseSpec(Section):
    """What counts as a collapse, beside a run that failed."""

    rate_below: Number = Field(
        default=0.1,
        ge=0,
        description="nats of R on test below which a model ignores its latents, 0 or more",
    )
    worse_by: Number | None = Field(
        default=None,
        gt=0,
        description="how much worse than the hand-tuned arm on the same seed, in the objective's "
        "unit, above 0",
    )

    @classmethod
    def of(cls, spec: Mapping[str, Any]) -> CollapseSpec:
        """That of a spec as a dict; one that does not say has the defaults."""
        return cls.model_validate(spec.get("collapse") or {})

    def ignores_latents(self, rate: float | None) -> bool:
        """Whether a model of this rate, R on test in nats, is a posterior collapse."""
        return rate is not None and rate < self.rate_below
