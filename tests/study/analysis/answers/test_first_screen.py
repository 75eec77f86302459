"""What every first screen says, of studies whose numbers are known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from study.analysis.answers.break_even import Count
from study.analysis.answers.first_screen import FirstScreen, count_interval
from study.analysis.answers.report import build_report
from study.analysis.records.tables import build_tables
from study.journal.events import StudyFinished

Make = Callable[..., Any]
SEEDS = (1, 2, 3, 4, 5, 6)


def screen_of(stream: Any) -> FirstScreen:
    report = build_report(build_tables(stream.entries))
    assert list(report.failures) == []
    return report.first_screen


def compared(make: Make, ahead: float, margin: float | None = None, finished: bool = True) -> Any:
    """Six seeds, on each of which the hand-tuned arm is better by about ``ahead``."""
    stream = make(seeds=SEEDS, margin=margin)
    stream.search("tpe", [10.0, 9.0], tests=[9.2, 9.0])
    stream.confirm("tpe", {seed: 9.0 + seed % 3 / 100 for seed in SEEDS}, chosen_from=1)
    stream.confirm("sigma", {seed: 9.0 + ahead + seed % 2 / 100 for seed in SEEDS})
    if finished:
        stream.emit(StudyFinished())
    return stream


@pytest.mark.parametrize(
    ("ahead", "margin", "outcome", "sentence"),
    [
        (0.5, None, "pays", "hand-tuned tpe makes better models than automatic sigma."),
        (-0.5, None, "does not pay", "automatic sigma makes better models than hand-tuned tpe."),
        (
            0.0,
            None,
            "inconclusive",
            "Inconclusive: no difference between hand-tuned tpe and automatic sigma is shown.",
        ),
        (
            0.0,
            0.1,
            "inconclusive, automatic no worse",
            "Inconclusive, and automatic is no worse by the margin of 0.1: no difference between "
            "hand-tuned tpe and automatic sigma is shown.",
        ),
    ],
)
def test_the_verdict_in_a_word_and_in_a_sentence(
    make_stream: Make, ahead: float, margin: float | None, outcome: str, sentence: str
) -> None:
    screen = screen_of(compared(make_stream, ahead, margin))
    assert screen.outcome == outcome
    assert screen.sentence.endswith(sentence)


def test_the_three_numbers_say_what_they_are(make_stream: Make) -> None:
    screen = screen_of(compared(make_stream, 0.5))
    difference, cost, break_even = screen.numbers
    assert difference.value is not None
    assert difference.lower is not None
    assert difference.upper is not None
    assert difference.lower < difference.value < difference.upper < 0
    assert difference.words.startswith("tpe minus sigma: -0.5")
    assert difference.about.endswith(" (lower is better), over 6 paired seeds on this test set")
    # Two trials of 1000 images and a run of 1000 against a run of 1000.
    assert (cost.value, cost.short) == (3.0, "3x")
    assert cost.words == "one model by tpe takes 3 times the images (3000, 1000)"
    assert (break_even.value, break_even.short) == (1, "1 trial")


def test_before_anything_has_run_the_screen_says_so(make_stream: Make) -> None:
    screen = screen_of(make_stream())
    assert screen.outcome == "not known yet"
    assert screen.so_far == "the study is not finished"
    assert screen.sentence.startswith("So far (the study is not finished): whether searching pays")
    assert [number.value for number in screen.numbers] == [None, None, None]
    assert [arm.score_text for arm in screen.arms] == ["-", "-"]
    assert screen_of(compared(make_stream, 0.5, finished=False)).sentence.startswith(
        "So far (the study is not finished): searching pays"
    )


def test_arms_are_rows_in_the_studys_order(make_stream: Make, arms: Mapping[str, Any]) -> None:
    stream = make_stream({"tpe": arms["hand"], "sigma": arms["automatic"], "b": arms["automatic"]})
    stream.search("tpe", [10.0, 9.0])
    stream.confirm("tpe", {101: 9.0, 102: 9.2, 103: 9.1}, chosen_from=1)
    stream.confirm("sigma", {101: 9.4, 102: 9.5, 103: 9.6})
    stream.emit(StudyFinished())
    tpe, sigma, b = screen_of(stream).arms
    assert (tpe.arm, tpe.kind, tpe.spoken_of) == ("tpe", "hand", True)
    assert (sigma.kind, sigma.spoken_of, sigma.cost_text) == ("auto", True, "1x")
    assert (b.score_text, b.cost_text, b.spoken_of) == ("-", "-", False)
    assert tpe.score_text == "9.10 +- 0.25"
    assert tpe.setting.startswith("beta=")


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (Count(5, 2, 9, 12), "95 % interval: 2 to 9 trials"),
        (Count(None, 2, None, 12), "95 % interval: 2 to more than 12 trials"),
        (Count(None, 13, None, 12), "95 % interval: more than 12 trials"),
        (Count(1, 1, 1, 12), "95 % interval: 1 trial"),
        (Count(5, None, None, 12, "one search"), "no interval: one search"),
    ],
)
def test_an_interval_of_trials_in_words(count: Count, words: str) -> None:
    assert count_interval(count) == words
