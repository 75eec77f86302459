"""What a reader of a report must know before believing it."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from study.analysis.arms import ArmResult
from study.analysis.verdict import BITS_PER_DIM, CALIBRATED_ELBO, Objective
from study.costs import Paid


def notes(
    trials: pa.Table, arms: Sequence[ArmResult], paid: Paid, objective: Objective, second: Objective
) -> list[str]:
    """Sentences about what limits the report's numbers, most important first."""
    found = [*_missing(arms), *_numerics(trials), *_accounts(paid)]
    for arm in arms:
        if arm.validation is not None:
            searches = (
                "one replicate of its search"
                if arm.replicates == 1
                else f"its {arm.replicates} searches are averaged within each seed"
            )
            found.append(
                f"{arm.arm}: {searches}, so the intervals cover the luck of training seeds, not "
                "the luck of the search."
            )
    if sum(arm.automatic for arm in arms) > 1:
        found.append("Each interval holds at 95 % on its own, not all of them together.")
    if {objective, second} == {CALIBRATED_ELBO, BITS_PER_DIM}:
        found.append(
            "Bits per dimension (uniform dequantisation) are the calibrated -ELBO in another unit: "
            "they show the same order of arms, not a second opinion. MSE, R and active units do."
        )
    return found


def _missing(arms: Sequence[ArmResult]) -> list[str]:
    found = []
    for arm in arms:
        open_trials = sum(arm.counts.get(s, 0) for s in ("waiting", "running", "interrupted"))
        if open_trials:
            found.append(f"{arm.arm}: {_trials(open_trials)} not finished yet.")
        if arm.failed_seeds:
            found.append(
                f"{arm.arm}: {arm.failed_seeds} of its confirm runs failed and are in no mean: "
                "what is left looks better than the arm is."
            )
        failed = arm.counts.get("failed", 0) - arm.failed_seeds
        if failed:
            found.append(f"{arm.arm}: {_trials(failed)} failed; the cost is counted.")
        if arm.cost.why:
            found.append(f"{arm.arm}: no cost to one model, since {arm.cost.why}.")
    return found


def _numerics(trials: pa.Table) -> list[str]:
    texts = pc.unique(trials["numerics_key"]).to_pylist()
    keys = [key for key in map(json.loads, texts) if key]
    fields = sorted({name for key in keys for name in key})
    differ = [name for name in fields if len({json.dumps(key.get(name)) for key in keys}) > 1]
    if not differ:
        return []
    return [
        f"Trials ran under {len(keys)} numerics keys (different: {', '.join(differ)}): equal "
        "seeds then agree to rounding, not to the last bit."
    ]


def _accounts(paid: Paid) -> list[str]:
    found = []
    if not paid.closed:
        found.append("Engines are still running, or ended unseen: their idle time is not known.")
    if paid.nobody.get("unreported", 0.0) < -1e-6 * max(paid.engines, 1.0):
        found.append("Trials were charged more than the engines' time: the accounts do not add up.")
    return found


def _trials(n: int) -> str:
    return "1 trial" if n == 1 else f"{n} trials"
