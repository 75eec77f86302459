"""The result of a search policy replayed on recorded trials, with its uncertainty."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from study.analysis.rendering.text import WIDTH
from study.formatting import seconds
from study.metrics import OBJECTIVES
from study.statistics.intervals import CONFIDENCE, Interval, mean_interval

Floats = NDArray[np.float64]

SHARE = 4
"""A search of more than a fourth of the pool's trials gets no pool interval."""


@dataclass(frozen=True)
class Point:
    """The policy after ``n`` trials, on average over the repeats.

    Attributes:
        n: Trials asked, those pruned or failed included.
        score: The objective on test of the trial that is best on validation so far, over the
            repeats that have one, with its sampling interval on this pool.
        pool: The same with its interval over pools drawn like this one.
        random_baseline: The mean score of n trials drawn from the pool at random.
        images: Images trained on by then.
        seconds: Standard device seconds by then, None where a rate is not known.
    """

    n: int
    score: Interval
    pool: Interval
    random_baseline: float
    images: float
    seconds: float | None


@dataclass(frozen=True)
class ReferenceScore:
    """A score on test that the policy is compared with, and from which n on it is reached."""

    arm: str
    what: str
    score: Interval
    n: int | None


@dataclass(frozen=True)
class Replay:
    """A policy replayed on an arm's recorded search.

    Attributes:
        study: The study's name.
        arm: The arm whose search was recorded.
        objective: The name of the study's objective.
        sampler: The policy's sampler, as in a study file.
        pruner: Likewise; None if it has none.
        batch: Trials it asks at a time.
        recorded: The sampler that the pool was drawn with.
        pool: Recorded trials, failed ones included.
        repeats: Searches that were replayed for the mean.
        halves: Further searches on halves of the pool, for the pool interval.
        chosen: How many trials of a search an adaptive sampler chose by earlier results, on
            average; the rest are random draws. None of another sampler.
        curve: The policy after each number of trials.
        levels: The scores it is compared with.
        pruned: Share of its trials that were pruned.
        moved: By searched key, how far the recorded trials are from those proposed, on average:
            decades of a log range, a share of a linear one, the share of other choices. Empty
            if nothing had to be moved.
        collisions: Share of the proposals whose nearest recorded trial had been used.
        notes: Limits of the result.
    """

    study: str
    arm: str
    objective: str
    sampler: Mapping[str, Any]
    pruner: Mapping[str, Any] | None
    batch: int
    recorded: str
    pool: int
    repeats: int
    halves: int
    chosen: float | None
    curve: Sequence[Point]
    levels: Sequence[ReferenceScore]
    pruned: float
    moved: Mapping[str, float]
    collisions: float
    notes: Sequence[str]

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON-able values."""
        return asdict(self)

    def __str__(self) -> str:
        return "\n".join(_lines(self))


def sampling_interval(scores: Floats) -> Interval:
    """The mean over searches of one pool, with the interval of its sampling error.

    Args:
        scores: (searches,), NaN for a search that has no model yet.
    """
    return mean_interval(scores[np.isfinite(scores)].tolist())


def pool_interval(scores: Floats, halves: Floats, n: int, count: int) -> Interval:
    """The mean over searches, with an interval for searches of any pool drawn like this one.

    Two halves of a pool are two pools: half the distance between the policy's means on them is the
    standard error that the pool adds to the mean on all of it. It is averaged over many ways to
    halve, and includes the sampling error of the searches, which makes it err upwards. As a pool
    holds floor(count / n) searches of n trials that have no trial in common, Student's t has one
    degree of freedom less.

    Args:
        scores: as for :func:`sampling_interval`.
        halves: (ways, 2), the mean score on each half; NaN where no search had a model.
        n: trials of a search, a fourth of the pool's at most.
        count: the pool's trials.
    """
    found = sampling_interval(scores)
    known = scores[np.isfinite(scores)]
    apart = (halves[:, 0] - halves[:, 1]) / 2
    apart = apart[np.isfinite(apart)]
    if found.mean is None or len(known) < 2 or not len(apart):
        return Interval(found.mean, None, None, found.n, "too few searches have a model yet")
    error = sqrt(float(np.mean(apart**2)) + float(known.var(ddof=1)) / len(known))
    half = error * float(stdtrit(min(len(apart), count // n - 1), (1 + CONFIDENCE) / 2))
    return Interval(found.mean, found.mean - half, found.mean + half, found.n)


def _lines(replay: Replay) -> Iterator[str]:
    objective = OBJECTIVES[replay.objective]
    pruner = f"pruner {_policy(replay.pruner)}" if replay.pruner else "no pruner"
    yield _filled(
        f"{replay.study}: {replay.arm} searched by {_policy(replay.sampler)} with {pruner}, asked "
        f"{replay.batch} at a time, replayed {replay.repeats} times on {replay.pool} recorded "
        f"trials. Nothing is trained{_chosen(replay)}"
    )
    yield ""
    yield _filled(
        f"{objective.heading} on test of the best of n trials on validation, mean over the "
        f"repeats: +- the sampling error on these {replay.pool} trials"
        f"{', [the interval over other trials too]' if replay.halves else ''}; random: n of them "
        "drawn at random. Images and standard device seconds by then"
    )
    heading = f"{objective.short}, 95 %"
    width = 20 if replay.halves else 0
    yield f"{'n':>5} {heading:>20} {'':>{width}} {'random':>10} {'images':>12} {'std s':>9}"
    for point in replay.curve:
        half, pool = point.score.half_width, ""
        score = objective.number(point.score.mean)
        if half is not None:
            score = f"{score} +- {objective.number(half)}"
        if point.pool.lower is not None:
            pool = f"[{objective.number(point.pool.lower)}, {objective.number(point.pool.upper)}]"
        random = objective.number(point.random_baseline)
        yield (
            f"{point.n:>5} {score:>20} {pool:>{width}} {random:>10} {point.images:>12,.0f} "
            f"{seconds(point.seconds):>9}"
        )
    if replay.levels:
        yield ""
    for level in replay.levels:
        score = objective.number(level.score.mean)
        if level.score.half_width is not None:
            score = f"{score} +- {objective.number(level.score.half_width)}"
        yield _filled(f"{level.arm}, {level.what}, {score}: {_reached(level, replay.curve)}")
    yield "\nNotes"
    for note in replay.notes:
        yield _filled(note, "- ")


def _chosen(replay: Replay) -> str:
    if replay.chosen is None:
        return ""
    return (
        f". {replay.sampler['name']} chose {replay.chosen:.1f} of a search's {len(replay.curve)} "
        "trials by earlier results, and the rest are random draws"
    )


def _reached(level: ReferenceScore, curve: Sequence[Point]) -> str:
    if level.n is None:
        return f"not reached within {len(curve)} trials"
    images = curve[level.n - 1].images
    return f"the policy's mean is not above it from n = {level.n} on ({images:,.0f} images)"


def _policy(policy: Mapping[str, Any]) -> str:
    """A sampler or a pruner: its name and the options that are set."""
    options = {k: v for k, v in policy.items() if k != "name" and v is not False}
    given = ", ".join(f"{key}={value}" for key, value in options.items())
    return f"{policy['name']} ({given})" if given else str(policy["name"])


def _filled(text: str, bullet: str = "") -> str:
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=bullet,
        subsequent_indent=" " * len(bullet),
        break_long_words=False,
        break_on_hyphens=False,
    )
