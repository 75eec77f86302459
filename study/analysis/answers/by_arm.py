"""A report's answers for the runs of MLflow's pages: the study's own, and one of each arm."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import isfinite

from study.analysis.answers.arms import ArmResult, best_on_validation
from study.analysis.answers.break_even import BreakEven
from study.analysis.answers.first_screen import count_interval, trials
from study.analysis.answers.report import Report
from study.formatting import NONE, multiple


@dataclass(frozen=True)
class RunAnswer:
    """What a report says of a study, or of one of its arms.

    Attributes:
        metrics: Finite numbers by name: the objective's unit, images, standard device seconds or
            trials, as the name says. What can't be said has none.
        tags: In words, by name.
        text: What it is and what its result is, in Markdown.
        params: What it was found with, by name.
    """

    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    text: str
    params: Mapping[str, str] = field(default_factory=dict)


def study_answer(report: Report) -> RunAnswer:
    """What ``report`` says of its study."""
    screen = report.first_screen
    numbers: dict[str, float | None] = {}
    tags = {"answer": screen.sentence, "distrust": screen.distrust or NONE}
    named = zip(("difference", "cost_ratio", "break_even_trials"), screen.numbers, strict=True)
    for name, number in named:
        ends = {f"{name}_lower": number.lower, f"{name}_upper": number.upper}
        numbers |= {name: number.value, **ends}
        tags[number.name.replace("-", "_")] = number.words
    numbered = "\n".join(f"- {number.words}" for number in screen.numbers)
    said = filter(None, (f"**{screen.sentence}**", numbered, screen.distrust))
    return RunAnswer(_finite(numbers), tags, "\n\n".join(said))


def arm_answers(report: Report) -> dict[str, RunAnswer]:
    """What ``report`` says of each of its arms.

    Each is set against the arm of the other kind in the compared pair, or where there is no pair
    against the one that is best on validation; the tag ``against`` names it.
    """
    pair = report.design.pair
    spoken_of = [arm for arm in report.arms if pair is None or arm.arm in pair]
    best = {
        kind: best_on_validation([arm for arm in spoken_of if arm.automatic == kind])
        for kind in (True, False)
    }
    return {arm.arm: _answer(report, arm, best[not arm.automatic]) for arm in report.arms}


def _answer(report: Report, arm: ArmResult, rival: ArmResult | None) -> RunAnswer:
    test, total = f"test_{report.objective.name}", arm.cost.total
    numbers = {
        f"{test}_mean": arm.test.mean,
        f"{test}_lower": arm.test.lower,
        f"{test}_upper": arm.test.upper,
        "cost_images": total.images if total else None,
        "cost_device_seconds": total.standard if total else None,
        "cost_ratio": report.ratios[arm.arm],
        "end_beta": arm.effective_beta,
        "optimism": arm.optimism,
    }
    row = next(row for row in report.first_screen.arms if row.arm == arm.arm)
    tags = {
        "against": rival.arm if rival else NONE,
        "break_even": NONE,
        "cost": row.cost_text,
        "kind": "automatic" if arm.automatic else "hand-tuned",
        "score": f"{row.score_text} over {row.seeds} seeds",
        "setting": row.setting or NONE,
    }
    params = {"setting": row.setting} if row.setting else {}
    if arm.draws is not None and arm.draws.known:
        params["chosen_by_sampler"] = f"{arm.draws.chosen} of {arm.draws.recorded}"
    said = list(_sentences(report, arm))
    against = rival.arm if rival else ""
    for found in report.break_even:
        if found.arm == arm.arm and found.deployed:
            numbers |= _break_even(found)
            tags["break_even"] = f"{trials(found.trials)} ({count_interval(found.trials)})"
            said.append(f"Deploying the best trial found, {found.sentence}.")
    for shown in report.non_inferiority:
        if (shown.automatic, shown.hand) == (arm.arm, against) and shown.shown is not None:
            numbers["non_inferior"] = float(shown.shown)
            said.append(shown.sentence)
    return RunAnswer(_finite(numbers), tags, " ".join(said), params)


def _finite(numbers: Mapping[str, float | None]) -> dict[str, float]:
    """As metrics; a page of MLflow's has no other way to show what is not known."""
    return {
        f"answer/{name}": float(value)
        for name, value in numbers.items()
        if value is not None and isfinite(value)
    }


def _break_even(found: BreakEven) -> dict[str, float | None]:
    count = found.trials
    # A bound beyond the trials there are is no number of trials; the sentence has it in words.
    lower = None if count.lower is None or count.lower > count.within else count.lower
    return {
        "break_even_trials": count.value,
        "break_even_trials_lower": lower,
        "break_even_trials_upper": count.upper,
        "break_even_images": found.images[0],
    }


def _sentences(report: Report, arm: ArmResult) -> Iterator[str]:
    objective, total, ratio = report.objective, arm.cost.total, report.ratios[arm.arm]
    settings = "; ".join(filter(None, arm.settings))
    kind = "**Automatic**" if arm.automatic else f"**Hand-tuned** ({arm.why})"
    yield f"{kind}: {arm.balancer}{f' with {settings}' if settings else ''}."
    if arm.draws is not None and arm.draws.known:
        of = f"{arm.draws.chosen} of its {arm.draws.recorded} trials"
        yield f"{arm.draws.sampler} chose {of} by earlier results."
    if arm.test.mean is None:
        yield f"There is no result: {arm.test.why}."
    else:
        value = objective.difference(arm.test, unit=False)
        seeds = "seeds" if arm.compared else "choosing seeds: it is not compared"
        yield f"{objective.heading} on test: {value} over {arm.test.n} {seeds}."
    if arm.collapsed is not None and arm.collapsed.count:
        yield f"It collapsed on {arm.collapsed.count} of {arm.collapsed.n} seeds."
    if total is None:
        yield f"What a model costs is not known: {arm.cost.why}."
    elif ratio is None or report.ratio_to == arm.arm:
        yield f"Cost to one model: {total.images:,.0f} images."
    else:
        times = f"{multiple(ratio)} times those of {report.ratio_to}"
        yield f"Cost to one model: {total.images:,.0f} images, {times}."
