from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from study.analysis.answers.break_even import BreakEven, Count
from study.analysis.answers.by_arm import arm_answers, study_answer
from study.analysis.answers.report import Report, build_report
from study.analysis.records.tables import build_tables
from study.journal.events import StudyFinished
from study.statistics.intervals import Interval


def report_of(stream: Any) -> Report:
    return build_report(build_tables(stream.entries))


def with_break_even(report: Report, trials: Count, images: float | None) -> Report:
    level = Interval(9.5, 9.3, 9.7, 3)
    found = BreakEven(
        *("tpe", "sigma", "calibrated_negative_elbo", trials),
        *((images, None, None), (None, None, None), level, 1000.0, (None, None, None)),
        *(True, None, 3, "tpe is as it is"),
    )
    other = replace(
        found, against="another", deployed=False, trials=Count(1, 1, 1, 4), sentence="not this one"
    )
    return replace(report, break_even=[other, found])


def test_arms_have_what_the_report_says_as_numbers(whole: Any) -> None:
    answers = arm_answers(with_break_even(report_of(whole), Count(2, 1, 3, 4), 1500.0))
    tpe, sigma = answers["tpe"].metrics, answers["sigma"].metrics
    assert tpe["answer/test_calibrated_negative_elbo_mean"] == pytest.approx(9.1)
    assert tpe["answer/test_calibrated_negative_elbo_lower"] < 9.1
    assert tpe["answer/test_calibrated_negative_elbo_upper"] > 9.1
    # One search of 1000 + 500 + 0 + 1000 images and one run of 1000, against one run of 1000.
    assert tpe["answer/cost_images"] == 3500
    assert tpe["answer/cost_device_seconds"] == pytest.approx(3.5)
    assert (tpe["answer/cost_ratio"], sigma["answer/cost_ratio"]) == (3.5, 1.0)
    assert tpe["answer/optimism"] == pytest.approx(0.6)
    assert tpe["answer/end_beta"] == 0.25
    break_even = {name: value for name, value in tpe.items() if "break_even" in name}
    assert break_even == {
        "answer/break_even_trials": 2,
        "answer/break_even_trials_lower": 1,
        "answer/break_even_trials_upper": 3,
        "answer/break_even_images": 1500,
    }
    assert not any("break_even" in name or "optimism" in name for name in sigma)
    assert all(type(value) is float for value in (*tpe.values(), *sigma.values()))
    assert answers["tpe"].tags == {
        "kind": "hand-tuned",
        "against": "sigma",
        "break_even": "2 trials (95 % interval: 1 to 3 trials)",
        "cost": "3.5x",
        "score": "9.10 +- 0.25 over 3 seeds",
        "setting": "beta=3.5",
    }
    assert answers["tpe"].params["setting"] == "beta=3.5"
    assert answers["sigma"].tags["kind"] == "automatic"
    beginning = "**Hand-tuned** (searches beta): fixed_beta with beta=3.5."
    assert answers["tpe"].text.startswith(beginning)
    assert "9.10 [8.85, 9.35] over 3 seeds." in answers["tpe"].text
    assert "3,500 images, 3.5 times those of sigma" in answers["tpe"].text
    assert "tpe is as it is" in answers["tpe"].text


def test_the_study_has_the_numbers_of_the_first_screen(whole: Any) -> None:
    report = report_of(whole)
    said, screen = study_answer(report), report.first_screen
    assert said.metrics["answer/difference"] == screen.difference.value
    assert said.metrics["answer/difference_lower"] == screen.difference.lower
    assert said.metrics["answer/cost_ratio"] == screen.cost.value
    assert said.tags["answer"] == screen.sentence
    assert said.tags["break_even"] == screen.break_even.words


def test_a_break_even_beyond_the_trials_is_words_and_no_number(whole: Any) -> None:
    found = arm_answers(with_break_even(report_of(whole), Count(None, 5, None, 4), None))["tpe"]
    assert not any("break_even" in name for name in found.metrics)
    assert found.tags["break_even"] == "> 4 trials (95 % interval: more than 4 trials)"
    assert "tpe is as it is" in found.text


@pytest.mark.parametrize(("margin", "shown"), [(None, None), (0.1, 0.0), (2.0, 1.0)])
def test_non_inferiority_is_an_answer_of_the_automatic_arm(
    make_stream: Callable[..., Any], margin: float | None, shown: float | None
) -> None:
    seeds = range(101, 107)
    stream = make_stream(margin=margin, seeds=seeds)
    stream.search("tpe", [10.0, 8.0])
    stream.confirm("tpe", dict.fromkeys(seeds, 9.0), chosen_from=1)
    stream.confirm("sigma", {seed: 9.4 + 0.1 * (seed % 3) for seed in seeds})
    stream.emit(StudyFinished())
    answers = arm_answers(report_of(stream))
    assert answers["sigma"].metrics.get("answer/non_inferior") == shown
    assert ("by the margin of" in answers["sigma"].text) == (margin is not None)
    assert "answer/non_inferior" not in answers["tpe"].metrics


def test_arms_are_set_against_the_rival_best_on_validation(
    make_stream: Callable[..., Any], arms: Any
) -> None:
    stream = make_stream({"a": arms["automatic"], "b": arms["automatic"], "tpe": arms["hand"]})
    stream.confirm("a", {101: 9.0, 102: 9.1}, gap=0.5)
    stream.confirm("b", {101: 9.4, 102: 9.5}, gap=2.0)  # better on validation, worse on test
    stream.search("tpe", [10.0, 8.0])
    stream.confirm("tpe", {101: 9.0, 102: 9.2}, chosen_from=1)
    answers = arm_answers(report_of(stream))
    assert {arm: answer.tags["against"] for arm, answer in answers.items()} == {
        "a": "tpe",
        "b": "tpe",
        "tpe": "b",
    }


def test_an_arm_without_results_says_so(make_stream: Callable[..., Any]) -> None:
    stream = make_stream()
    stream.confirm("sigma", {101: 9.4})
    answers = arm_answers(report_of(stream))
    assert answers["tpe"].metrics == {}
    assert "There is no result" in answers["tpe"].text
    assert "not known" in answers["tpe"].text
    assert answers["tpe"].tags["against"] == "sigma"
    assert answers["sigma"].tags["against"] == "-"
    assert "answer/test_calibrated_negative_elbo_lower" not in answers["sigma"].metrics
