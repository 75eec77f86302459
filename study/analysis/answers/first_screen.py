"""What every first screen says: a verdict in a sentence, three numbers, the arms, one doubt.

The end of a launch, the list of studies, the page, MLflow and a notebook show this and nothing of
their own; all else is the full report.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from study.analysis.answers import verdict_sentences as sentences
from study.analysis.answers.arms import ArmResult
from study.analysis.answers.break_even import BEST_OF, BreakEven, Count
from study.analysis.answers.costs import Amount
from study.analysis.answers.sides import PairCost, Way
from study.analysis.answers.verdict import Comparison
from study.analysis.answers.verdict_sentences import Outcome, one_end
from study.formatting import NONE, images, times
from study.metrics import Metric
from study.statistics.intervals import Interval

NOT_YET, UNKNOWN = "not known yet", "not known"
"""Outcomes of a study without a comparison: while it runs, and once it has ended."""


@dataclass(frozen=True)
class Number:
    """One of the three numbers of a verdict.

    Attributes:
        name: "difference", "cost" or "break-even".
        value: In ``unit``; None where it is not known, or not within the trials there are.
        lower: Of its 95 % interval; None without one, or where it is not within them either.
        upper: Likewise.
        unit: That of the objective, "times the images" or "trials".
        short: Value and interval for a tile, as "0.06 [-0.76, 0.90]", "13x" or "> 12 trials".
        words: All of it in a line without a full stop: what it is, with its interval.
        about: What it is in and over; "" where ``words`` say it.
    """

    name: str
    value: float | None
    lower: float | None
    upper: float | None
    unit: str
    short: str
    words: str
    about: str = ""


@dataclass(frozen=True)
class ArmRow:
    """An arm in a line.

    Attributes:
        arm: Its name.
        kind: "hand" or "auto".
        spoken_of: Whether it is one of the two arms that the verdict speaks of.
        score: Mean of the objective on test over ``score.n`` seeds.
        score_text: The same, as "-21.71 +- 0.52".
        seeds: How many seeds it is over, as "12", or as "11/12" where one of 12 failed.
        trials: Trials there are, of those planned, as "26/26".
        cost: Images of one model as a multiple of those of the verdict's automatic arm.
        cost_text: The same, as "13x".
        setting: What its search chose, or it was given, as "beta=0.0165"; "" where nothing was.
    """

    arm: str
    kind: str
    spoken_of: bool
    score: Interval
    score_text: str
    seeds: str
    trials: str
    cost: float | None
    cost_text: str
    setting: str


@dataclass(frozen=True)
class FirstScreen:
    """What a study's first screen says.

    Attributes:
        outcome: In a word or few: "pays", "does not pay", "inconclusive", "inconclusive, automatic
            no worse", "not known yet" or "not known".
        so_far: Why it is preliminary, as "the study is not finished"; "" where it is not.
        sentence: The verdict in one sentence, which begins with its outcome.
        difference: Hand-tuned minus automatic on test.
        cost: One model of the hand-tuned arm in images, as a multiple of one of the automatic arm.
        break_even: From which trial on the search reaches what the automatic side deploys.
        arms: The arms, in the study's order.
        score: What ``arms`` are scored by.
        distrust: What to distrust most, in a sentence; "" where nothing is known against it.
    """

    outcome: str
    so_far: str
    sentence: str
    difference: Number
    cost: Number
    break_even: Number
    arms: Sequence[ArmRow]
    score: Metric
    distrust: str

    @property
    def numbers(self) -> tuple[Number, Number, Number]:
        """The three numbers."""
        return self.difference, self.cost, self.break_even


def first_screen(
    verdict: Sequence[str],
    found: Comparison | None,
    arms: Sequence[ArmResult],
    hand: ArmResult | None,
    cost: PairCost | None,
    breaks: Sequence[BreakEven],
    ratios: Mapping[str, float | None],
    *,
    objective: Metric,
    so_far: str,
    distrust: str,
) -> FirstScreen:
    """The first screen of a study, also before there is anything to compare.

    Args:
        verdict: The report's; its first sentence is said where nothing is compared.
        found: What the verdict speaks of.
        arms: The arms' results.
        hand: The hand-tuned arm of the study's pair, else the one that is best on validation.
        cost: What the models of the two sides take.
        breaks: From which trial on searches break even.
        ratios: By arm, its cost to one model as a multiple of the automatic arm's.
        objective: What arms are scored by.
        so_far: Why the answer is preliminary, "" where it is not.
        distrust: What to distrust most.
    """
    spoken_of = {found.hand, found.automatic} if found else set()
    return FirstScreen(
        _outcome(found, finished=not so_far),
        so_far,
        _sentence(found, so_far) if found and found.difference.n else verdict[0],
        _difference(found, objective),
        _cost(cost),
        _break_even(hand, breaks, objective),
        [_row(arm, arm.arm in spoken_of, ratios.get(arm.arm), objective) for arm in arms],
        objective,
        distrust,
    )


def _outcome(found: Comparison | None, *, finished: bool) -> str:
    unknown = UNKNOWN if finished else NOT_YET
    if found is None or not found.difference.n:
        return unknown
    if found.no_worse:
        return f"{Outcome.NOT_SHOWN}, automatic no worse"
    if found.outcome is Outcome.UNKNOWN:  # too few seeds decide nothing
        return str(Outcome.NOT_SHOWN) if finished else unknown
    return str(found.outcome)


def _sentence(found: Comparison, so_far: str) -> str:
    hands, automatics = found.among
    hand = f"hand-tuned {found.hand}" if hands == 1 else f"the best of {hands} hand-tuned arms"
    best = (
        f"automatic {found.automatic}"
        if automatics == 1
        else f"the best of {automatics} automatic arms"
    )
    match found.outcome:
        case Outcome.PAYS:
            said = f"{hand} makes better models than {best}"
        case Outcome.DOES_NOT_PAY:
            said = f"{best} makes better models than {hand}"
        case Outcome.NOT_SHOWN:
            said = f"no difference between {hand} and {best} is shown"
        case _:
            said = f"{hand} against {best}"
    answer = f"{found.opening}: {said}."
    return sentences.so_far(answer, so_far) if so_far else answer


def _difference(found: Comparison | None, objective: Metric) -> Number:
    name, unit = "difference", objective.unit
    if found is None or found.difference.mean is None:
        why = "there is nothing to compare yet" if found is None else found.difference.why
        return Number(name, None, None, None, unit, NONE, why)
    one = found.difference
    better = f" ({objective.better} is better)" if objective.better else ""
    ends = "" if found.ends is None else one_end(objective, found.ends)
    interval = "" if ends or one.lower is not None else f", no interval: {one.why}"
    return Number(
        name,
        one.mean,
        one.lower,
        one.upper,
        unit,
        f"{objective.difference(one, unit=False)}{ends}",
        f"{found.hand} minus {found.automatic}: {objective.difference(one)}{ends}{interval}",
        f"{objective.label}{better}, over {found.over}",
    )


def _cost(cost: PairCost | None) -> Number:
    name, unit = "cost", "times the images"
    if cost is None or cost.named.ratio_images is None:
        unknown = "what a model costs is not known yet for both"
        return Number(name, None, None, None, unit, NONE, unknown)
    ratio = cost.named.ratio_images
    words = f"one model by {cost.hand} takes {times(ratio)} times the images {_sides(cost.named)}"
    if cost.charged is not cost.named and cost.charged.ratio_images is not None:
        hands, automatics = cost.among
        words += (
            f"; with their choice among {hands} and {automatics} arms "
            f"{times(cost.charged.ratio_images)} times {_sides(cost.charged)}"
        )
    return Number(name, ratio, None, None, unit, f"{times(ratio)}x", words)


def _sides(way: Way) -> str:
    """The images of both sides."""
    return f"({images(_images(way.hand))}, {images(_images(way.automatic))})"


def _images(amount: Amount | None) -> float | None:
    return None if amount is None else amount.images


def _break_even(hand: ArmResult | None, breaks: Sequence[BreakEven], objective: Metric) -> Number:
    name, unit = "break-even", "trials"
    found = next((b for b in breaks if hand and b.arm == hand.arm and b.deployed), None)
    if found is None:
        searches = hand is not None and hand.draws is not None
        why = "nothing has been found yet" if hand is None or searches else "it searches nothing"
        said = f"{hand.arm}: {why}" if hand else why
        return Number(name, None, None, None, unit, NONE, said)
    count, at = found.trials, objective.number(found.level.mean)
    of_several = found.against.startswith(BEST_OF)
    level = f"the {at} of the {found.against}" if of_several else f"{found.against}'s {at}"
    if count.value is None:
        said = f"{found.arm} does not reach {level} within its {count.within} trials"
    elif count.value == 1:
        said = f"{found.arm} is at {level} from its first trial on"
    else:
        said = f"{found.arm} reaches {level} after {count.value} trials"
    return Number(
        name,
        count.value,
        None if count.lower is None or count.lower > count.within else count.lower,
        count.upper,
        unit,
        trials(count),
        f"{said} ({count_interval(count)})",
    )


def count_interval(count: Count) -> str:
    """The interval of a number of trials in words, or why there is none."""
    if count.lower is None:
        return f"no interval: {count.why}"
    beyond = f"more than {count.within}"
    lower = beyond if count.lower > count.within else str(count.lower)
    upper = beyond if count.upper is None else str(count.upper)
    ends = lower if lower == upper else f"{lower} to {upper}"
    return f"95 % interval: {ends} trial{'' if ends == '1' else 's'}"


def trials(count: Count) -> str:
    """A number of trials, as "10 trials" or "> 12 trials"."""
    if count.value is None:
        return f"> {count.within} trials"
    return "1 trial" if count.value == 1 else f"{count.value} trials"


def _row(arm: ArmResult, spoken_of: bool, ratio: float | None, objective: Metric) -> ArmRow:
    half = arm.test.half_width
    score = objective.number(arm.test.mean)
    n = arm.test.n
    return ArmRow(
        arm.arm,
        "auto" if arm.automatic else "hand",
        spoken_of,
        arm.test,
        score if half is None else f"{score} +- {objective.number(half)}",
        f"{n}/{n + len(arm.lost_seeds)}" if arm.lost_seeds else str(n),
        f"{sum(arm.counts.values())}/{arm.planned}",
        ratio,
        NONE if ratio is None else f"{times(ratio)}x",
        " | ".join(filter(None, arm.settings)),
    )
