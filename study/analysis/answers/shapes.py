"""What a report says beyond one arm's mean: the shapes of its answers.

Everything is by one objective, lower better, in that objective's unit. A cost is given in trials,
images and standard device seconds. What can't be said is None, and a sentence says why.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from study.analysis.statistics.intervals import Interval


@dataclass(frozen=True)
class CostCurve:
    """What deploying the best trial so far scores on test, after n trials of an arm's search.

    The trial of lowest validation objective among the first n is deployed, as it is. Arrays have
    a place for each n = 1, 2, ...

    Attributes:
        arm: The arm searched.
        automatic: Whether it is an automatic arm, whose "trials" are runs of other seeds.
        estimand: The "median" search, or the "mean" best of n seeds.
        images: Images trained on by then, on average over searches.
        seconds: Standard device seconds by then, None where a rate is not known.
        value: The estimate; None while no trial has come to an end.
        lower: Of the 95 % band, None where there is none.
        upper: Likewise.
        simultaneous: Whether the band holds at all n together, or at each n on its own.
        why: Why there is no band, or "".
        expected: For independent trials, the expected score with its interval, for n up to N/4.
    """

    arm: str
    automatic: bool
    estimand: str
    images: Sequence[float]
    seconds: Sequence[float | None]
    value: Sequence[float | None]
    lower: Sequence[float | None]
    upper: Sequence[float | None]
    simultaneous: bool
    why: str
    expected: Sequence[Interval]

    @property
    def trials(self) -> Sequence[int]:
        """Every n, from 1."""
        return range(1, len(self.value) + 1)


@dataclass(frozen=True)
class Count:
    """A number of trials with its 95 % interval, right-censored at the trials there are.

    Attributes:
        value: The estimate; None: not within ``within`` trials.
        lower: Of the interval, None where there is none; ``within`` + 1: not within them.
        upper: Of the interval; None where there is none, and with a ``lower``: not within them.
        within: How many trials there were to tell.
        why: Why there is no interval, or "".
    """

    value: int | None
    lower: int | None
    upper: int | None
    within: int
    why: str = ""


@dataclass(frozen=True)
class BreakEven:
    """From how many trials on a search reaches a level: deploying the best trial found.

    Attributes:
        arm: The arm that searches.
        against: The automatic arm whose mean over seeds is the level; "" for a level of the user's.
        objective: Name of the objective searched and scored by.
        trials: From which trial on.
        images: What that many trials take, as (value, lower, upper), None as in ``trials``.
        seconds: Likewise in standard device seconds.
        level: The level, with its interval where it was measured.
        against_best: The first n at which the search is at or below the best of n seeds of the
            automatic arm, chosen on validation; None: not within ``seeds`` runs.
        seeds: How many runs the automatic arm has.
        sentence: All of it in words.
    """

    arm: str
    against: str
    objective: str
    trials: Count
    images: tuple[float | None, float | None, float | None]
    seconds: tuple[float | None, float | None, float | None]
    level: Interval
    against_best: int | None
    seeds: int
    sentence: str


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


@dataclass(frozen=True)
class Tunability:
    """How a search's score on test depends on its budget (Sivaprasad et al. 2020), lower better.

    L_n is the expected score after n of ``within`` trials. ``early`` weighs L_n by T + 1 - n
    (CPE), ``uniform`` by 1 (CPU), ``late`` by n (CPL); ``one_shot`` is L_1, ``peak`` L_T.
    """

    arm: str
    within: int
    early: float | None
    uniform: float | None
    late: float | None
    one_shot: float | None
    peak: float | None
    why: str = ""


@dataclass(frozen=True)
class NonInferiority:
    """Whether the automatic arm is worse than the hand-tuned one by less than a margin.

    ``difference`` is automatic minus hand-tuned on test, paired over seeds. ``shown`` is None where
    nothing can be said. ``improvement`` is the probability that on a fresh seed the automatic
    arm's model is the better one, with its exact interval.
    """

    hand: str
    automatic: str
    margin: float | None
    difference: Interval
    shown: bool | None
    improvement: Interval
    sentence: str


@dataclass(frozen=True)
class Landing:
    """Where an arm lands on the rate-distortion plane (test, mean over its confirm runs).

    Attributes:
        arm: The arm.
        automatic: Whether it is an automatic one.
        rate: R in nats per image.
        distortion: S, the squared error summed over an image.
        beta: k sigma^2 at the end of training.
        excess: Distortion above the frontier of the beta sweep at this rate, as a share of it.
        nats: The same in nats per image, D/2 ln(1 + excess).
        frontier_beta: The beta of the sweep's frontier at this rate.
        why: Why the last three are None, or "".
    """

    arm: str
    automatic: bool
    rate: float
    distortion: float
    beta: float | None
    excess: float | None
    nats: float | None
    frontier_beta: float | None
    why: str = ""


@dataclass(frozen=True)
class Plane:
    """The rate-distortion plane: the sweep's trials, their frontier, and where the arms land.

    ``sweep`` and ``frontier`` hold (rate, distortion, beta) in ascending order of rate.
    """

    sweep: Sequence[tuple[float, float, float]]
    frontier: Sequence[tuple[float, float, float]]
    landings: Sequence[Landing]
    why: str = ""
