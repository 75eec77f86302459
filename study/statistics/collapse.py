"""What can be said of means where some seeds may collapse: shares of seeds, and a condition.

No interval of a mean holds for every law at any number of seeds (Bahadur & Savage 1956): a rare
collapse that no seed has shown yet can be as bad as it likes. Shares of seeds have exact bounds
for any law, and what they leave open is said as a condition.

``looks`` as in :func:`study.statistics.paired.bounds`: the bounds then hold at all looks together.
"""

from __future__ import annotations

from dataclasses import dataclass

from study.statistics.intervals import proportion_bounds
from study.statistics.paired import Differences, mean_bounds


@dataclass(frozen=True)
class Collapses:
    """How often an arm's seeds collapse.

    Attributes:
        count: Seeds that did.
        n: Seeds.
        lower: Of the 95 % interval of the share of all seeds.
        upper: Likewise.
        at_most: The one-sided 95 % bound of that share, for "at most".
    """

    count: int
    n: int
    lower: float
    upper: float
    at_most: float

    @property
    def share(self) -> float:
        """Of these seeds."""
        return self.count / self.n


@dataclass(frozen=True)
class Typical:
    """On how many seeds the automatic arm loses less than a margin.

    ``at_least`` is the bound of their share among all seeds, wrong with a chance of 2.5 % at most:
    above 1/2 it speaks of the typical seed.
    """

    count: int
    n: int
    at_least: float


def collapses(count: int, n: int, *, looks: bool = False) -> Collapses:
    """The share of seeds that collapse, ``count`` of ``n`` (Clopper & Pearson 1934)."""
    interval = proportion_bounds(count, n, 0.025, looks=looks)
    return Collapses(count, n, *interval, proportion_bounds(count, n, 0.05, looks=looks)[1])


def typical(differences: Differences, margin: float, *, looks: bool = False) -> Typical:
    """The share of seeds on which the automatic arm loses less than ``margin``: exact bound.

    A loss of the margin itself does not count.
    """
    count = sum(value > -margin for value in differences.values)
    n = differences.n
    return Typical(count, n, proportion_bounds(count, n, 0.025, looks=looks)[0])


def withstands(
    differences: Differences, collapsed: int, margin: float, *, looks: bool = False
) -> float | None:
    """R*: "no worse on average by ``margin``, as long as a collapse costs less than R*".

    With u the upper bound of the automatic arm's mean loss over seeds without a collapse and U that
    of the share of collapses, each at 1.25 %, its mean loss is at most u + U (R - u) where a
    collapse costs R at most: so R* = u + (margin - u) / U. Wrong with a chance of 2.5 % at most.

    Args:
        differences: of the seeds without a collapse.
        collapsed: the number of those with one.
        margin: the loss that would matter, in the objective's unit.
        looks: see above.

    Returns:
        None where the loss without any collapse may already be the margin.
    """
    found = mean_bounds(differences, 0.0125, looks=looks)
    if found is None or -found[0] >= margin:
        return None
    share = proportion_bounds(collapsed, differences.n + collapsed, 0.0125, looks=looks)[1]
    loss = -found[0]
    return loss + (margin - loss) / share
