"""Intervals of seeds that were looked at, or of a pair that was chosen again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from streams import AUTOMATIC, HAND, Stream

from study.analysis.answers.multi_study import combine
from study.analysis.answers.report import Report, build_report
from study.analysis.answers.verdict_sentences import Outcome
from study.analysis.records.tables import build_tables
from study.journal.events import PairChosen, StudyFinished

Make = Callable[..., Stream]
SEEDS = tuple(range(101, 113))


def test_a_narrower_prior_has_a_level_that_holds_at_every_look(
    make_stream: Make, arms: Mapping[str, Mapping[str, Any]]
) -> None:
    betas = np.logspace(np.log10(0.5), np.log10(50), 40)
    scores = np.linspace(12, 8.2, 40)
    search = {**arms["hand"]["search"], "sampler": {"name": "random"}, "pruner": None}
    found = []
    for until in ({}, {"until": "decided"}):
        stream = make_stream(
            {"h": {**arms["hand"], "search": search}, "a": arms["automatic"]}, seeds=SEEDS
        )
        stream.describe(**until)
        stream.search("h", scores.tolist(), tests=scores.tolist(), betas=betas.tolist())
        stream.confirm("h", dict.fromkeys(SEEDS, 8.2), chosen_from=39)
        stream.confirm("a", {seed: 8.3 + seed % 5 / 10 for seed in SEEDS})
        tables = build_tables(stream.entries)
        found.append(build_report(tables).narrowed)
    once, looked = ([one.trials for one in each] for each in found)
    assert len(once) == len(looked) == 4
    assert [one.value for one in looked] == [one.value for one in once]
    assert once[0].upper is not None
    assert looked[0].upper is not None
    assert looked[0].upper > once[0].upper


def study(name: str, pairs: Sequence[PairChosen]) -> Report:
    """The report of a study of 8 seeds on which the automatic arm is better by about 0.6."""
    noise = np.random.default_rng(len(name)).normal(size=(2, 8)) * 0.1
    seeds = range(101, 109)
    stream = Stream({"tpe": HAND, "sigma": AUTOMATIC}, seeds=list(seeds), design="two_stages")
    stream.describe(name=name, data={"name": name})
    stream.search("tpe", [10.0, 9.0, 8.0])
    for pair in pairs:
        stream.emit(pair)
    runs = {"tpe": 9.6 + noise[0], "sigma": 9.0 + noise[1]}
    for arm, chosen in (("tpe", 2), ("sigma", None)):
        tests = dict(zip(seeds, runs[arm].tolist(), strict=True))
        stream.confirm(arm, tests, chosen_from=chosen, stage="comparing")
    stream.emit(StudyFinished())
    return build_report(build_tables(stream.entries))


@pytest.mark.parametrize(
    ("earlier", "outcome", "looked"),
    [
        ([], Outcome.DOES_NOT_PAY, []),
        ([PairChosen("other", "sigma", {})], Outcome.UNKNOWN, ["mnist"]),
    ],
)
def test_the_joint_outcome_is_unknown_for_a_pair_that_was_chosen_again(
    earlier: list[PairChosen], outcome: Outcome, looked: list[str]
) -> None:
    pair = PairChosen("tpe", "sigma", {})
    found = combine([study("digits", [pair]), study("mnist", [*earlier, pair])])
    assert found.pair is not None
    assert (found.pair.outcome, found.pair.looked) == (outcome, looked)
