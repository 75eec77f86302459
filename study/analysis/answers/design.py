"""How the compared pair of arms came about, and which confirm runs say what an arm is worth.

``named``: the pair was named before anything ran, or is the only one; every arm runs every seed.
``two_stages``: every arm ran a few choosing seeds, and the two arms best on validation ran fresh
seeds, which alone compare them. ``same_seeds``: every arm ran every seed and no pair was named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from study.statistics.choice import error_of

NAMED, TWO_STAGES, SAME_SEEDS = "named", "two_stages", "same_seeds"
CHOOSING, COMPARING = "choosing", "comparing"


@dataclass(frozen=True)
class Design:
    """A study's design, as its journal says.

    Attributes:
        kind: One of those above.
        pair: The hand-tuned and the automatic arm that are compared; None where no pair was named,
            or none is chosen yet: then the best arms are compared.
        looks: Every look at their difference, in the journal's order
            (:class:`study.journal.events.Looked`).
        until_decided: Whether seeds are added until the pair is decided.
        reported_at: Numbers of seeds that the study was finished with, and reported, before others
            were added: those at which a report may claim a difference.
        earlier: Pairs that were chosen before that one, or had other configurations: ``hand``,
            ``automatic`` and their ``looks``.
    """

    kind: str
    pair: tuple[str, str] | None
    looks: Sequence[Mapping[str, Any]]
    until_decided: bool
    earlier: Sequence[Mapping[str, Any]] = ()
    reported_at: Sequence[int] = ()

    @property
    def looked(self) -> bool:
        """Whether the number of seeds may depend on what they showed.

        Intervals then hold at all numbers of them together.
        """
        return self.until_decided or bool(self.reported_at)

    def stage(self, arm: str) -> str:
        """Which confirm runs say what ``arm`` is worth; "": all of them."""
        if self.kind != TWO_STAGES:
            return ""
        return COMPARING if self.pair is not None and arm in self.pair else CHOOSING

    @property
    def error(self) -> float:
        """That each end of the pair's interval may be wrong with: less for a pair chosen again."""
        return error_of(1 + len(self.earlier))

    @property
    def decided(self) -> bool:
        """Whether a look ended the comparison."""
        return bool(self.looks) and self.looks[-1]["outcome"] != "undecided"


def design_of(facts: Mapping[str, Any], spec: Mapping[str, Any]) -> Design:
    """The design of a study, from what the tables' metadata says of it and its spec."""
    kind, looks = facts.get("design") or SAME_SEEDS, facts.get("looks") or []
    until_decided = bool(looks) or spec.get("until") == "decided"
    earlier = facts.get("earlier_pairs") or []
    reported_at = facts.get("reported_at") or []
    return Design(kind, _pair(kind, facts, spec), looks, until_decided, earlier, reported_at)


def _pair(kind: str, facts: Mapping[str, Any], spec: Mapping[str, Any]) -> tuple[str, str] | None:
    primary, chosen = spec.get("primary"), facts.get("pair")
    if kind == TWO_STAGES:
        return (chosen["hand"], chosen["automatic"]) if chosen else None
    if kind == NAMED and primary:
        return primary["hand_tuned"], primary["automatic"]
    roles = facts.get("roles") or {}
    hands = [arm for arm in spec["arms"] if roles.get(arm, {}).get("hand_tuned")]
    automatic = [arm for arm in spec["arms"] if arm not in hands]
    return (hands[0], automatic[0]) if len(hands) == len(automatic) == 1 else None
