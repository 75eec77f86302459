"""What limits a report's numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from math import fsum
from typing import Any

import pyarrow as pa

from study.analysis.answers.arms import ArmResult
from study.analysis.answers.costs import Paid
from study.analysis.answers.departures import departures
from study.metrics import BITS_PER_DIM, CALIBRATED_NEGATIVE_ELBO, Metric
from study.statistics.collapse import Collapses

_UNITS = {
    "max_images": "images trained",
    "max_hours": "hours",
    "max_device_hours": "device hours",
}


def ended_by(cap: Mapping[str, Any], arms: Sequence[ArmResult]) -> str:
    """How a cap ended the study, and how many trials it left unfinished."""
    name = cap["cap"]
    spent, limit = (_amount(name, cap[key]) for key in ("spent", "limit"))
    unfinished, planned = (sum(getattr(arm, n) for arm in arms) for n in ("unfinished", "planned"))
    return (
        f"ended by {name}: {spent} of {limit} {_UNITS[name]}; {unfinished} of {planned} trials "
        "unfinished"
    )


def doubts(facts: Mapping[str, Any], arms: Sequence[ArmResult], paid: Paid) -> list[str]:
    """Why the numbers may be other than they look, the gravest reason first.

    A cap; accounts that do not add up; searches that are not what their names say; trials that
    did not run or failed; costs that were paid elsewhere. Arguments as for :func:`notes`.
    """
    return [
        *_capped(facts, arms),
        *_beyond(paid),
        *_random_searches(arms),
        *_missing(arms),
        *departures(facts),
        *_told(facts),
    ]


def notes(
    trials: pa.Table,
    facts: Mapping[str, Any],
    arms: Sequence[ArmResult],
    paid: Paid,
    objective: Metric,
    second: Metric,
) -> list[str]:
    """Sentences about how the numbers came about, most important first.

    Args:
        trials: The table of `trials.parquet`.
        facts: What its metadata says (see :func:`study.analysis.records.tables.study_facts`).
        arms: The arms' results.
        paid: The study's account.
        objective: What arms are scored by.
        second: What is shown beside it.
    """
    found = [
        *_extended(facts),
        *_searched(facts, objective),
        *_commands(trials, facts),
        *_numerics(facts),
        *_features(facts),
        *_faults(facts, paid),
        *_still_open(paid),
        *_roles(arms),
    ]
    if sum(arm.automatic for arm in arms) > 1:
        found.append(
            "In the tables, each interval holds at 95 % on its own, not all of them together; the "
            "verdict's holds whichever arms were chosen."
        )
    if {objective, second} == {CALIBRATED_NEGATIVE_ELBO, BITS_PER_DIM}:
        found.append(
            "Bits per dimension (uniform dequantisation) are the calibrated negative ELBO in "
            "another unit: they order the arms alike, and confirm nothing. MSE, R and "
            "active units do."
        )
    return found


def _capped(facts: Mapping[str, Any], arms: Sequence[ArmResult]) -> list[str]:
    cap = facts.get("capped")
    if not cap:
        return []
    how = ended_by(cap, arms)
    return [
        f"{how[0].upper()}{how[1:]}. To resume, launch it again with a higher {cap['cap']}, or "
        "without."
    ]


def _random_searches(arms: Sequence[ArmResult]) -> list[str]:
    return [sentence for arm in arms if (sentence := _random_search(arm))]


def _random_search(arm: ArmResult) -> str:
    """That an arm's search is not what its sampler's name promises, "" if it is."""
    draws = arm.draws
    if draws is None:
        return ""
    if draws.repeated and arm.replicates > 1:
        return (
            f"{arm.arm}: its {arm.replicates} searches are one search repeated. The version that "
            "ran them gave every replicate of qmc the same points."
        )
    if draws.chosen is None:
        return ""
    if not draws.recorded:
        return (
            f"{arm.arm}: not recorded is which trials {draws.sampler} chose. The version that "
            "ran them drew at random until 10 trials had ended, so all of a search of 12."
        )
    if not draws.chosen and not arm.unfinished:
        return (
            f"{arm.arm}: {draws.sampler} chose none of its {_trials(draws.recorded)}: all were "
            "drawn at random or enqueued."
        )
    return ""


def _searched(facts: Mapping[str, Any], objective: Metric) -> list[str]:
    """Of searches that went on until bounded, at what level and when that was looked at."""
    found = []
    for arm, looks in (facts.get("search_looks") or {}).items():
        last = looks[-1]
        ended = last["upper"] is not None and last["upper"] <= last["trials"]
        found.append(
            f"{arm}: searched until its break-even is bounded. Looked at after "
            f"{', '.join(str(look['trials']) for look in looks)} trials: "
            f"{'bounded' if ended else 'not bounded'} at {objective.number(last['level'])}, the "
            f"best choosing run of {last['against']}. Its intervals hold at all looks together."
        )
    return found


def _extended(facts: Mapping[str, Any]) -> list[str]:
    at = [str(n) for n in facts.get("reported_at") or []]
    if not at:
        return []
    return [
        f"seeds were added after the study had been reported with {', '.join(at)}: its intervals "
        "hold at every number of seeds together, and are wider than those of a number set before"
    ]


def _told(facts: Mapping[str, Any]) -> list[str]:
    return [
        f"{arm}: its searches began with {_trials(told['trials'])} of {told['source']}, which were "
        f"not trained again. That search took {told['images']:,} images, and the cost to one model "
        "includes them."
        for arm, told in (facts.get("told") or {}).items()
    ]


def _missing(arms: Sequence[ArmResult]) -> list[str]:
    found = []
    for arm in arms:
        open_trials = sum(arm.counts.get(s, 0) for s in ("waiting", "running", "interrupted"))
        if open_trials:
            found.append(f"{arm.arm}: {_trials(open_trials)} not finished yet.")
        if arm.collapsed is not None and arm.collapsed.count:
            found.append(_collapsed(arm, arm.collapsed))
        failed = arm.counts.get("failed", 0) - arm.failed_seeds
        if failed:
            found.append(f"{arm.arm}: {_trials(failed)} failed; the cost is counted.")
        pruner = arm.draws.pruner if arm.draws is not None and not arm.unfinished else None
        if pruner is not None and not arm.counts.get("pruned"):
            found.append(f"{arm.arm}: its pruner {pruner} pruned none of its trials.")
        if arm.active_units is not None and arm.active_units < 1:
            found.append(
                f"{arm.arm}: {arm.active_units:.1f} latents in use on average over its confirm "
                "runs: models without one ignore their latents (posterior collapse)."
            )
        if arm.cost.why:
            found.append(f"{arm.arm}: no cost to one model, because {arm.cost.why}.")
    return found


def _collapsed(arm: ArmResult, share: Collapses) -> str:
    failed = (
        f"; {arm.failed_seeds} of its confirm runs failed and are in no mean: the others look "
        "better than the arm is"
        if arm.failed_seeds and arm.by_seed
        else ""
    )
    low, high = 100 * share.lower, 100 * share.upper
    return (
        f"{arm.arm}: collapsed on {share.count} of {share.n} seeds, {100 * share.share:.0f} % "
        f"[{low:.0f}, {high:.0f}]{failed}."
    )


def _commands(trials: pa.Table, facts: Mapping[str, Any]) -> list[str]:
    found = []
    if stopped := facts.get("stopped"):
        found.append(f"Stopped by command: {', '.join(stopped)}. Such trials count as pruned.")
    rows = trials.select(["trial", "state", "retry_of"]).to_pylist()
    states = {row["trial"]: row["state"] for row in rows}
    again = [
        f"{row['retry_of']} ({states[row['retry_of']]}) as {row['trial']} ({row['state']})"
        for row in rows
        if row["retry_of"] is not None
    ]
    if again:
        found.append(f"Retried by command, both attempts charged: {', '.join(again)}.")
    return found


def _numerics(facts: Mapping[str, Any]) -> list[str]:
    keys = facts.get("numerics_keys") or []
    fields = sorted({name for key in keys for name in key})
    differ = [name for name in fields if len({json.dumps(key.get(name)) for key in keys}) > 1]
    if not differ:
        return []
    return [
        f"Trials ran under {len(keys)} numerics keys (different: {', '.join(differ)}): equal "
        "seeds then agree to rounding, not to the last bit; `study verify` says by how much."
    ]


def _features(facts: Mapping[str, Any]) -> list[str]:
    found = []
    for name, descriptions in (facts.get("features") or {}).items():
        if len(descriptions) > 1:
            found.append(
                f"Distances in {name} features were measured with {len(descriptions)} different "
                "networks or reference images: they do not compare."
            )
        about = dict(descriptions[-1])
        network, digest, n = about.pop("network"), about.pop("sha256"), about.pop("n")
        rest = "; ".join(
            f"{key.replace('_', ' ')} {value:.3g}"
            if isinstance(value, float)
            else f"{key.replace('_', ' ')} {value}"
            for key, value in about.items()
        )
        found.append(
            f"Distances in {name} features: {network}, SHA-256 {digest[:12]}, n = {n:,} test "
            f"images against as many samples; {rest}. They fall with n: compare at equal n only."
        )
    return found


def _faults(facts: Mapping[str, Any], paid: Paid) -> list[str]:
    found = []
    if paid.lost_engines:
        lost = fsum(arm.seconds["lost"] for arm in paid.arms)
        redone = sum(arm.redone_images for arm in paid.arms)
        times = "once" if paid.lost_engines == 1 else f"{paid.lost_engines} times"
        found.append(
            f"Engines were lost {times}: {lost:,.1f} device seconds of work were never reported "
            f"(lost), {redone:,} images were trained on again (redone)."
        )
    if isolated := facts.get("isolated"):
        found.append(
            f"Trained alone, because engines died while they trained them: {', '.join(isolated)}."
        )
    return found


def _beyond(paid: Paid) -> list[str]:
    if paid.beyond <= 1e-6 * max(paid.engines, 1.0):
        return []
    return ["Trials were charged more than the engines' time: the accounts do not add up."]


def _still_open(paid: Paid) -> list[str]:
    if paid.closed:
        return []
    return ["Engines are still running, or ended without an account: their idle time is not known."]


def _roles(arms: Sequence[ArmResult]) -> list[str]:
    named = [f"{arm.arm} ({arm.why})" for arm in arms if not arm.automatic]
    return [f"Hand-tuned: {', '.join(named)}."] if named else []


def _amount(cap: str, value: float) -> str:
    if cap == "max_images":
        return f"{value:,.0f}"
    return f"{value:,.2f}" if value >= 1 else f"{value:.3g}"


def _trials(n: int) -> str:
    return "1 trial" if n == 1 else f"{n} trials"
