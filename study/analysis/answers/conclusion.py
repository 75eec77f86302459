"""The sentences that a report begins with: its verdict, and what goes with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from study.analysis.answers.advice import Advice
from study.analysis.answers.arms import ArmResult
from study.analysis.answers.break_even import BreakEven
from study.analysis.answers.design import CHOOSING, NAMED, TWO_STAGES, Design
from study.analysis.answers.luck import EqualLuck, as_found, otherwise
from study.analysis.answers.verdict import Comparison, together
from study.analysis.answers.verdict_sentences import Outcome, so_far, subject
from study.metrics import BITS_PER_DIM, CALIBRATED_NEGATIVE_ELBO
from study.statistics.choice import ERROR

_UNKNOWN = "Whether searching pays can't be told"


def verdict(
    arms: Sequence[ArmResult],
    hand: ArmResult | None,
    best: ArmResult | None,
    found: Comparison | None,
    design: Design,
    breaks: Sequence[BreakEven],
    unfinished: str,
) -> list[str]:
    """The answer in a sentence and, where a search can break even, when in another.

    Args:
        arms: The arms' results.
        hand: The hand-tuned arm of the compared pair, else the one that is best on validation.
        best: The automatic one.
        found: What the verdict speaks of.
        design: How the compared pair came about.
        breaks: From which trial on searches break even.
        unfinished: Why the answer is a preliminary one, "" where it is not.
    """
    first = _first_sentence(arms, hand, best, found, design, finished=not unfinished)
    if unfinished:
        first = so_far(first, unfinished)
    if hand is None or best is None:
        return [first]
    return [first, *map(as_found, _when(breaks, hand))]


def remarks(
    arms: Sequence[ArmResult],
    hand: ArmResult | None,
    best: ArmResult | None,
    spoken_of: Comparison | None,
    comparisons: Sequence[Comparison],
    second: Comparison | None,
    design: Design,
    breaks: Sequence[BreakEven],
    advice: Advice | None,
    luck: Sequence[EqualLuck],
) -> list[str]:
    """How to go on, how the pair came about, other arms, retraining, luck, the second objective."""
    if hand is None or best is None:
        return []
    found = [advice.sentence] if advice else []
    automatic = [arm for arm in arms if arm.automatic]
    if len(arms) > 2:
        found.append(_chosen(arms, hand, best, len(automatic), design))
    if design.looks:
        found.append(_looks(design))
    if design.earlier:
        found.append(_earlier(design, hand, best))
    family = _family(comparisons, hand, design)
    ours = [c for c in family if c.hand == hand.arm]
    if len(ours) > 1 and any(c.outcome is not Outcome.UNKNOWN for c in ours):
        found.append(
            f"Against each automatic arm, with 95 % for all {len(family)} pairs together, "
            f"{subject(searched=ours[0].searched)} {_tally(ours)}."
        )
    # Where no pair was named, those two are best on validation, and the verdict is of any others.
    of_pair = next((c for c in family if (c.hand, c.automatic) == (hand.arm, best.arm)), None)
    retrained = spoken_of if design.pair is not None else of_pair
    found += filter(None, (otherwise(b, retrained, hand) for b in _when(breaks, hand)))
    found += [one.sentence for one in luck if one.hand == hand.arm]
    if second is not None and second.difference.mean is not None and _another(comparisons, second):
        found.append(f"The second objective says: {second.finding}.")
    return found


def _when(breaks: Sequence[BreakEven], hand: ArmResult) -> list[BreakEven]:
    """From when on the search of ``hand`` is at what the automatic side deploys."""
    return [b for b in breaks if b.arm == hand.arm and b.deployed]


def _chosen(
    arms: Sequence[ArmResult], hand: ArmResult, best: ArmResult, automatic: int, design: Design
) -> str:
    if design.kind == NAMED:
        return f"Named before anything ran: {hand.arm} against {best.arm}."
    how = "Chosen on validation"
    if design.kind == TWO_STAGES:
        seeds = {len(arm.by_seed) for arm in arms if arm.stage == CHOOSING and arm.by_seed}
        how += f" over {max(seeds)} choosing seeds" if seeds else " over choosing seeds"
    return (
        f"{how}: {hand.arm} among {len(arms) - automatic} hand-tuned, {best.arm} among "
        f"{automatic} automatic."
    )


def _another(comparisons: Sequence[Comparison], second: Comparison) -> bool:
    """Whether the second objective is not the first in another unit."""
    both = {second.objective, *(one.objective for one in comparisons)}
    return both != {CALIBRATED_NEGATIVE_ELBO, BITS_PER_DIM}


def _looks(design: Design) -> str:
    last = design.looks[-1]
    state = "it was decided" if design.decided else "it was not decided"
    looks = "every look" + (" at this pair" if design.earlier else "")
    return (
        f"Looked at {_times(design.looks)}: {state} at {last['seeds']}, and the interval holds at "
        f"{looks}."
    )


def _times(looks: Sequence[Mapping[str, Any]]) -> str:
    times = "once" if len(looks) == 1 else f"{len(looks)} times"
    return f"{times}, at {', '.join(str(look['seeds']) for look in looks)} seeds"


def _earlier(design: Design, hand: ArmResult, best: ArmResult) -> str:
    """What may have been known before the pair of today was chosen: its seeds are not fresh to it.

    The interval's error is divided by how many pairs there were (:attr:`Design.error`).
    """
    now, before = f"{hand.arm} against {best.arm}", []
    for pair in design.earlier:
        one = f"{pair['hand']} against {pair['automatic']}"
        one += " with another configuration" if one == now else ""
        before.append(one + (f" (looked at {_times(pair['looks'])})" if pair["looks"] else ""))
    return (
        f"Chosen again: the pair was {', then '.join(before)} before {now}. What the comparing "
        "seeds show may have been known then: so each end of this interval has an error of "
        f"{100 * design.error:.3g} % instead of {100 * ERROR:.3g} %."
    )


def _first_sentence(
    arms: Sequence[ArmResult],
    hand: ArmResult | None,
    best: ArmResult | None,
    found: Comparison | None,
    design: Design,
    *,
    finished: bool,
) -> str:
    if not arms:
        return f"{_UNKNOWN}: the arms' results could not be computed."
    automatic = [arm for arm in arms if arm.automatic]
    for kind, there in (("hand-tuned", len(automatic) < len(arms)), ("automatic", bool(automatic))):
        if not there:
            return f"{_UNKNOWN}: the study has no {kind} arm."
    if hand is None or best is None:
        return f"{_UNKNOWN}: {_without_result(arms, hand is not None, design, finished=finished)}."
    if design.kind == TWO_STAGES and design.pair is None:
        when = "was not chosen" if finished else "is not chosen yet"
        return f"{_UNKNOWN}: the pair of arms to compare {when}."
    if found is None:
        return f"{_UNKNOWN}: the comparison of the arms could not be computed."
    return found.sentence


def _family(comparisons: Sequence[Comparison], hand: ArmResult, design: Design) -> list[Comparison]:
    """The pairs of ``hand``, with outcomes that hold for all of them at once.

    For all pairs there are where it was not fixed before they ran: any of them could be spoken of.
    """
    ours = [c for c in comparisons if design.pair is None or c.hand == hand.arm]
    return together(ours, design.error, looks=design.looked)


def _without_result(
    arms: Sequence[ArmResult], automatic: bool, design: Design, *, finished: bool
) -> str:
    """Which side has no result, and why if it is to have none."""
    of_kind = [arm for arm in arms if arm.automatic == automatic]
    if design.pair is None:
        who = f"no {'automatic' if automatic else 'hand-tuned'} arm has a complete confirm run"
    else:
        of_kind = [arm for arm in of_kind if arm.arm in design.pair]
        who = f"{design.pair[automatic]} has no complete confirm run"
        if design.kind == TWO_STAGES:
            who += " on the comparing seeds"
    failed = sum(arm.failed_seeds for arm in of_kind)
    return who + ("" if finished else " yet") + (f", and {failed} failed" if failed else "")


def _tally(comparisons: Sequence[Comparison]) -> str:
    words = {
        Outcome.PAYS: "pays against",
        Outcome.DOES_NOT_PAY: "does not pay against",
        Outcome.NOT_SHOWN: "is inconclusive against",
        Outcome.UNKNOWN: "can't be judged against",
    }
    against = {o: [c.automatic for c in comparisons if c.outcome is o] for o in words}
    return "; ".join(f"{words[o]} {', '.join(names)}" for o, names in against.items() if names)
