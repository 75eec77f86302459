"""Break-even under priors of beta that are narrower than the one that was searched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from study.analysis.answers.arms import ArmResult
from study.analysis.answers.break_even import Count, Target, trials_to
from study.analysis.records.searches import ArmSearches


@dataclass(frozen=True)
class Narrowed:
    """Break-even if beta's prior were narrower: the trials inside of a window around ``centre``.

    ``decades`` is the window's width in powers of ten, ``whole`` that of the prior searched.
    """

    arm: str
    against: str
    centre: float
    decades: float
    whole: float
    trials: Count


def narrowed_priors(
    searches: Mapping[str, ArmSearches], best: ArmResult | None, *, looks: bool = False
) -> list[Narrowed]:
    """:func:`narrowed` of every hand-tuned arm that searches, around where ``best`` ended."""
    if best is None or not best.by_seed:
        return []
    level = Target(best.arm, list(best.by_seed.values()), looks=looks)
    return [
        one
        for arm in searches.values()
        if not arm.automatic and arm.searched
        for one in narrowed(arm, level, best.effective_beta)
    ]


def narrowed(arm: ArmSearches, level: Target, centre: float | None) -> list[Narrowed]:
    """Break-even under priors of beta that are narrower than the one searched.

    Windows of 3/4, 1/2 and 1/4 of the prior's decades around ``centre``, moved to lie within it:
    the trials inside are a search of that prior. It takes independent trials of a log-uniform
    beta, and works for narrower priors only: what was never tried is in no record. ``centre`` must
    not come from the search itself, or the windows depend on its outcome; it is the beta at which
    the balancer ended, which takes a run of the balancer to know.
    """
    pool = arm.pool
    if pool is None or arm.prior is None or centre is None or centre <= 0:
        return []
    low, high = np.log10(arm.prior)
    found = []
    for share in (1.0, 0.75, 0.5, 0.25):
        width = share * (high - low)
        start = min(max(np.log10(centre) - width / 2, low), high - width)
        slack = 1e-9 if share == 1 else 0.0  # the ends of the whole prior belong to it
        inside = pool.inside(10 ** (start - slack), 10 ** (start + width + slack))
        trials = (
            trials_to(replace(arm, searches=[inside]), level)
            if len(inside)
            else Count(None, None, None, 0, "no trial lies in it")
        )
        found.append(Narrowed(arm.arm, level.name, centre, float(width), float(high - low), trials))
    return found
