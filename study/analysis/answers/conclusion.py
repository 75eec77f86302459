"""The sentences that a report begins with: its verdict, and what goes with it."""

from __future__ import annotations

from collections.abc import Sequence

from study.analysis.answers.arms import ArmResult
from study.analysis.answers.break_even import BreakEven
from study.analysis.answers.luck import EqualLuck, as_found
from study.analysis.answers.verdict import Comparison, Outcome

_UNKNOWN = "Whether searching pays can't be told"


def verdict(
    arms: Sequence[ArmResult],
    hand: ArmResult | None,
    best: ArmResult | None,
    comparisons: Sequence[Comparison],
    breaks: Sequence[BreakEven],
    unfinished: str,
) -> list[str]:
    """The answer in a sentence and, where a search can break even, when in another.

    Args:
        arms: The arms' results.
        hand: The hand-tuned arm that is best on validation.
        best: The automatic one.
        comparisons: Every hand-tuned arm against every automatic one.
        breaks: From which trial on searches break even.
        unfinished: Why the answer is a preliminary one, "" where it is not.
    """
    first = _first_sentence(arms, hand, best, comparisons)
    if unfinished:
        first = f"So far ({unfinished}): {first[0].lower()}{first[1:]}"
    if hand is None or best is None:
        return [first]
    pair = [c for c in comparisons if (c.hand, c.automatic) == (hand.arm, best.arm)]
    when = [b for b in breaks if b.arm == hand.arm and b.deployed]
    return [first, *(as_found(b, pair[0] if pair else None, hand) for b in when)]


def remarks(
    arms: Sequence[ArmResult],
    hand: ArmResult | None,
    best: ArmResult | None,
    comparisons: Sequence[Comparison],
    second_comparisons: Sequence[Comparison],
    luck: Sequence[EqualLuck] = (),
) -> list[str]:
    """How the two arms were chosen, the other arms, equal luck, the second objective."""
    if hand is None or best is None:
        return []
    found = []
    automatic = [arm for arm in arms if arm.automatic]
    if len(arms) > 2:
        found.append(
            f"Chosen on validation: {hand.arm} among {len(arms) - len(automatic)} hand-tuned, "
            f"{best.arm} among {len(automatic)} automatic."
        )
    if len(automatic) > 1 and comparisons:
        ours = [c for c in comparisons if c.hand == hand.arm]
        found.append(f"Against each automatic arm, searching {_tally(ours)}.")
    found += [one.sentence for one in luck if one.hand == hand.arm]
    found += [
        f"A second opinion: {c.finding}."
        for c in second_comparisons
        if (c.hand, c.automatic) == (hand.arm, best.arm) and c.difference.mean is not None
    ]
    return found


def _first_sentence(
    arms: Sequence[ArmResult],
    hand: ArmResult | None,
    best: ArmResult | None,
    comparisons: Sequence[Comparison],
) -> str:
    if not arms:
        return f"{_UNKNOWN}: the arms' results could not be computed."
    automatic = [arm for arm in arms if arm.automatic]
    for kind, there in (("hand-tuned", len(automatic) < len(arms)), ("automatic", bool(automatic))):
        if not there:
            return f"{_UNKNOWN}: the study has no {kind} arm."
    if hand is None or best is None:
        waiting = "hand-tuned" if hand is None else "automatic"
        return f"{_UNKNOWN}: no {waiting} arm has a complete confirm run yet."
    ours = [c.sentence for c in comparisons if (c.hand, c.automatic) == (hand.arm, best.arm)]
    return ours[0] if ours else f"{_UNKNOWN}: the comparison of the arms could not be computed."


def _tally(comparisons: Sequence[Comparison]) -> str:
    words = {
        Outcome.PAYS: "pays against",
        Outcome.DOES_NOT_PAY: "does not pay against",
        Outcome.NOT_SHOWN: "is not shown to pay against",
        Outcome.UNKNOWN: "can't be judged against",
    }
    against = {o: [c.automatic for c in comparisons if c.outcome is o] for o in words}
    return "; ".join(f"{words[o]} {', '.join(names)}" for o, names in against.items() if names)
