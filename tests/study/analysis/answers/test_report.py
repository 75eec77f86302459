from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import scipy.stats

from study.analysis.answers.report import Report, build_report, summary
from study.analysis.answers.verdict_sentences import Outcome
from study.analysis.records.tables import build_tables
from study.analysis.rendering.text import as_text, render
from study.journal.events import CapReached, EngineDied, Stopped, TrialEnded

Make = Callable[..., Any]
Arms = Mapping[str, Mapping[str, Any]]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def report_of(stream: Any, *warnings: str) -> Report:
    """The report, checked for what must hold of every report."""
    report = build_report(build_tables(stream.entries), warnings=warnings)
    terminal = Terminal()
    render(report, terminal)
    text = as_text(report)
    json.dumps(summary(report), allow_nan=False)
    for words in (text, terminal.getvalue(), str(summary(report))):
        assert not re.search(r"\b(nan|inf)\b", words)
    assert report.verdict
    assert len(report.verdict) <= 3
    numbers = [number.words for number in report.first_screen.numbers]
    for sentence in (report.first_screen.sentence, *numbers, *report.notes):
        assert sentence in " ".join(text.split())
    return report


def test_the_numbers_of_a_whole_study(whole: Any) -> None:
    report = report_of(whole, "tpe searches 4 trials.")
    tpe, sigma = report.arms
    low, high = scipy.stats.ttest_rel([9.0, 9.2, 9.1], [9.4, 9.5, 9.6]).confidence_interval(0.95)
    (comparison,) = report.comparisons
    assert comparison.difference.mean == pytest.approx(-0.4)
    assert comparison.difference.lower == pytest.approx(low)
    assert comparison.difference.upper == pytest.approx(high)
    assert comparison.outcome is Outcome.UNKNOWN, "3 seeds cannot decide"
    # One search of 1000 + 500 + 0 + 1000 images and one run of 1000, against one run of 1000.
    assert comparison.ratio_images == 3.5
    assert comparison.ratio_standard == pytest.approx(3.5)
    (second,) = report.second_comparisons
    assert second.difference.mean == pytest.approx(-0.4 / (64 * np.log(2)))
    assert second.objective.name == "bits_per_dim"
    assert (tpe.automatic, sigma.automatic) == (False, True)
    assert tpe.validation == 8.0
    assert tpe.confirm_validation == pytest.approx(8.6)
    assert tpe.optimism == pytest.approx(0.6)
    assert sigma.optimism is None
    assert tpe.settings == ["beta=3.5"]
    assert sigma.settings == ["k=1"]
    assert tpe.counts == {"complete": 5, "pruned": 1, "failed": 1}
    assert tpe.planned == 7
    assert (tpe.effective_beta, tpe.mse, tpe.rate, tpe.active_units) == (0.25, 0.01, 5.0, 3.0)
    assert tpe.test.half_width == pytest.approx(scipy.stats.t.ppf(0.975, 2) * 0.1 / np.sqrt(3))
    assert tpe.cost.measurement.images == 2000
    assert report.ratio_to == "sigma"
    assert report.ratios == {"tpe": 3.5, "sigma": 1.0}
    assert report.standard_ratios == {"tpe": pytest.approx(3.5), "sigma": 1.0}
    assert "tpe searches 4 trials." in report.notes
    assert "tpe: 1 trial failed; the cost is counted." in report.notes


def test_the_verdict_names_its_objective_and_the_price(whole: Any) -> None:
    (verdict,) = report_of(whole).verdict
    assert verdict == (
        "Inconclusive by design (3 seeds cannot decide, 6 can): by calibrated negative ELBO (nats "
        "per image, lower is better) on test, tpe minus sigma is -0.40 nats per image "
        "[-0.65, -0.15] over 3 paired seeds on this test set; "
        "tpe costs 3.5x the images of sigma to one model."
    )


def test_the_answer_comes_before_everything_else(whole: Any) -> None:
    _, _, answer, *_ = as_text(report_of(whole)).splitlines()
    assert answer.startswith("Inconclusive by design")


@pytest.mark.parametrize("width", [80, 120])
def test_lines_fit_the_screen_and_names_stay_whole(
    make_stream: Make, arms: Arms, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    automatic = ["learned-sigma", "running-average", "asperti-trentin"]
    stream = make_stream(
        {"random-beta": arms["hand"], **dict.fromkeys(automatic, arms["automatic"])}
    )
    stream.search("random-beta", [-26.26] * 12)
    stream.confirm("random-beta", {101: -25.1, 102: -26.2, 103: -24.3}, chosen_from=0)
    for name in automatic:
        stream.confirm(name, {101: -26.1, 102: -24.2, 103: -25.3})
    monkeypatch.setenv("COLUMNS", str(width))
    report, terminal = report_of(stream), Terminal()
    render(report, terminal)
    for text in (as_text(report), re.sub(r"\x1b\[[0-9;]*m", "", terminal.getvalue())):
        assert [line for line in text.splitlines() if len(line) > width] == []
        for name in automatic:
            assert len(re.findall(rf"^ *{name}  ", text, re.MULTILINE)) == 9


def test_summary_holds_what_the_report_holds(whole: Any) -> None:
    values = json.loads(json.dumps(summary(report_of(whole))))
    assert values["comparisons"][0]["outcome"] == "can't be told"
    assert values["headline"] == values["comparisons"][0]
    assert values["comparisons"][0]["ratio_images"] == 3.5
    assert values["arms"][0]["cost"]["total"]["images"] == 3500
    assert values["arms"][0]["by_seed"] == {"101": 9.0, "102": 9.2, "103": 9.1}
    assert values["paid"]["engines"] == pytest.approx(36.25)


def test_who_paid_what_sums_to_the_engines_time(whole: Any) -> None:
    paid = report_of(whole).paid
    assert sum(arm.billed for arm in paid.arms) + sum(paid.nobody.values()) == pytest.approx(36.25)
    assert paid.nobody["idle"] == 6.0
    assert paid.engines == 36.25


def test_without_a_named_pair_the_best_arms_are_compared_whichever_they_are(
    make_stream: Make, arms: Arms
) -> None:
    stream = make_stream({"flattered": arms["hand"], "good": arms["hand"],
                          "sigma": arms["automatic"], "optimal": arms["automatic"]},
                         seeds=range(101, 109))  # fmt: skip
    stream.search("flattered", [8.0])
    stream.search("good", [8.0])
    noise = [0.0, 0.1, 0.3, 0.05, 0.2, 0.15, 0.25, 0.35]
    means = {"flattered": 9.5, "good": 9.0, "sigma": 9.2, "optimal": 8.2}
    for i, (name, mean) in enumerate(means.items()):
        chosen_from = 0 if name in ("flattered", "good") else None
        tests = {101 + k: mean + noise[k - i] for k in range(8)}
        # On validation, the arm that is worst on test looks best.
        gap = 9.0 if name == "flattered" else 0.5
        stream.confirm(name, tests, chosen_from=chosen_from, gap=gap)
    report = report_of(stream)
    assert [(c.hand, c.automatic) for c in report.comparisons] == [
        ("flattered", "sigma"), ("flattered", "optimal"), ("good", "sigma"), ("good", "optimal"),
    ]  # fmt: skip
    assert report.headline is not None
    assert (report.headline.hand, report.headline.automatic) == ("good", "optimal")
    assert report.headline.among == (2, 2)
    assert report.headline.difference.mean == pytest.approx(0.8)
    assert "the best automatic arm is better than every hand-tuned one" in report.verdict[0]
    assert "flattered among 2 hand-tuned, optimal among 2 automatic" in report.remarks[0]
    says = "Against each automatic arm, with 95 % for all 4 pairs together, searching "
    assert report.remarks[1].startswith(says)


def test_what_is_said_of_each_automatic_arm_holds_of_all_of_them_together(
    make_stream: Make, arms: Arms
) -> None:
    """Eight wins of nine decide at 5 % (20 of 512), and not at a quarter of it."""
    names, seeds = "abcd", range(101, 110)
    automatic = dict.fromkeys(names, arms["automatic"])
    stream = make_stream({"tpe": arms["hand"], **automatic}, seeds=seeds)
    stream.search("tpe", [8.0])
    stream.confirm("tpe", dict.fromkeys(seeds, 9.0), chosen_from=0)
    for i, name in enumerate(names):
        runs = {s: 8.0 + 0.01 * (s * (i + 2) % 9) for s in seeds}
        stream.confirm(name, {**runs, 101: 9.01} if name == "a" else runs)
    report = report_of(stream)
    assert {c.outcome for c in report.comparisons} == {"does not pay"}
    assert (
        "Against each automatic arm, with 95 % for all 4 pairs together, searching does not pay "
        "against b, c, d; is inconclusive against a."
    ) in report.remarks


def test_nothing_is_said_of_each_automatic_arm_where_no_seeds_could_decide(
    make_stream: Make, arms: Arms
) -> None:
    """Six seeds show that searching pays against all four, and not four pairs each for itself."""
    automatic = dict.fromkeys("abcd", arms["automatic"])
    stream = make_stream({"tpe": arms["hand"], **automatic}, seeds=range(101, 107))
    stream.search("tpe", [8.0])
    stream.confirm("tpe", dict.fromkeys(range(101, 107), 5.0), chosen_from=0)
    for i, name in enumerate("abcd"):
        stream.confirm(name, {s: 9.0 + 0.01 * (s * (i + 2) % 7) for s in range(101, 107)})
    report = report_of(stream)
    assert report.headline is not None
    assert report.headline.outcome == "pays"
    assert not any(remark.startswith("Against each automatic arm") for remark in report.remarks)


def test_replicates_are_averaged_within_a_seed(make_stream: Make) -> None:
    stream = make_stream()
    stream.search("tpe", [5.0, 4.0], replicate=0)
    stream.search("tpe", [3.0], replicate=1)
    stream.confirm("tpe", {101: 9.0, 102: 9.2}, chosen_from=1, replicate=0)
    stream.confirm("tpe", {101: 8.0, 102: 8.4}, chosen_from=0, replicate=1)
    stream.confirm("sigma", {101: 9.0, 102: 9.0})
    tpe = report_of(stream).arms[0]
    assert tpe.by_seed == pytest.approx({101: 8.5, 102: 8.8})
    assert tpe.settings == ["beta=1.5", "beta=0.5"]
    assert tpe.cost.search is not None
    assert tpe.cost.search.images == 1500
    assert tpe.validation == 3.5


def test_bits_per_dimension_as_the_objective(make_stream: Make) -> None:
    stream = make_stream(objective="bits_per_dim")
    stream.search("tpe", [8.0])
    stream.confirm("tpe", {101: 9.0, 102: 9.2}, chosen_from=0)
    stream.confirm("sigma", {101: 9.5, 102: 9.6})
    report = report_of(stream)
    assert report.second.name == "calibrated_negative_elbo"
    assert "by bits per dimension (lower is better) on test, " in report.verdict[0]
    assert report.arms[0].second.mean == pytest.approx(9.1)
    assert report.arms[0].test.mean == pytest.approx(9.1 / (64 * np.log(2)) + 8)


def test_an_unfinished_study_reports_so_far(make_stream: Make) -> None:
    stream = make_stream()
    for number in range(2):
        stream.ask("tpe", "search", number, number, {"beta": 1.0})
    stream.confirm("sigma", {101: 9.0, 102: 9.2, 103: 9.3})
    report = report_of(stream)
    assert report.verdict == [
        "So far (the study is not finished): whether searching pays can't be told: tpe has no "
        "complete confirm run yet."
    ]
    assert "tpe: 2 trials not finished yet." in report.notes
    assert "idle time is not known" in " ".join(report.notes)
    assert report.ratios == {"tpe": None, "sigma": 1.0}


def test_a_study_that_a_cap_ended_says_so_and_how_to_go_on(make_stream: Make) -> None:
    stream = make_stream()
    stream.search("tpe", [8.0, 9.0])
    stream.confirm("sigma", {101: 9.0, 102: 9.2, 103: 9.3})
    stream.ask("tpe", "search", 2, 7, {"beta": 1.0})
    stream.emit(CapReached(cap="max_images", limit=1_000_000.0, spent=1_000_040.0))
    report = report_of(stream)
    how = "ended by max_images: 1,000,040 of 1,000,000 images trained; 5 of 10 trials unfinished"
    assert report.capped == how
    assert report.verdict[0].startswith(f"So far ({how}): whether searching pays can't be told")
    assert report.notes[0] == (
        f"E{how[1:]}. To resume, launch it again with a higher max_images, or without."
    )
    stream.launch(2)
    stream.emit(CapReached(cap="max_device_hours", limit=0.004, spent=0.00412345))
    assert "0.00412 of 0.004 device hours" in report_of(stream).notes[0]


def test_a_seed_that_failed_is_paired_by_its_retry_and_both_are_charged(make_stream: Make) -> None:
    stream = make_stream()
    stream.search("tpe", [8.0])
    stream.confirm("tpe", {101: 9.0, 102: None, 103: 9.1}, chosen_from=0)
    stream.confirm("sigma", {101: 9.5, 102: 9.6, 103: 9.7})
    failed = "tpe.confirm.r0.from0.0001"
    stream.train(
        stream.ask("tpe", "confirm", 1, 102, {"beta": 0.5}, 0, 0, retry_of=failed),
        "complete", 8.7, test=9.2,
    )  # fmt: skip
    report = report_of(stream)
    tpe = report.arms[0]
    assert report.comparisons[0].difference.n == 3
    assert tpe.by_seed == {101: 9.0, 102: 9.2, 103: 9.1}
    assert tpe.failed_seeds == 0
    assert (tpe.planned, sum(tpe.counts.values())) == (4 + 3 + 1, 5)
    assert report.paid.arms[0].training == {
        "useful": 8.0, "pruned": 0.0, "failed": 0.0, "unfinished": 0.0,
    }  # fmt: skip
    assert report.paid.arms[0].seconds["evaluation"] == 8 * 0.25 + 5 * 0.5
    assert (
        f"Retried by command, both attempts charged: {failed} (failed) as {failed}.retry1 "
        "(complete)." in report.notes
    )
    assert "tpe: 1 trial failed; the cost is counted." in report.notes


def test_what_crashes_cost_and_what_was_stopped_is_noted(make_stream: Make) -> None:
    stream = make_stream()
    stream.search("tpe", [8.0])
    name = stream.ask("sigma", "confirm", 0, 101, {})
    stream.begin(name)
    stream.report(name, 1, 9.0)
    stream.stop_engine("lost", {name: 1.25}, training=4.25, evaluation=1.25)
    for engine in ("e1.0", "e2.0"):
        stream.emit(EngineDied(trial=name, engine=engine))
    stream.start_engine("e3.0")
    stream.begin(name)
    stream.report(name, 1, 9.0, redone=True)
    stream.emit(Stopped(arm="sigma"))
    stream.emit(TrialEnded(name, "pruned", step=1, reason="stopped by hand"))
    report = report_of(stream)
    assert (
        "Engines were lost once: 1.2 device seconds of work were never reported (lost), 500 images "
        "were trained on again (redone)." in report.notes
    )
    assert f"Trained alone, because engines died while they trained them: {name}." in report.notes
    assert "Stopped by command: arm sigma. Such trials count as pruned." in report.notes
    text = as_text(report).splitlines()
    head = next(line for line in text if "unfinished" in line and "redone" in line)
    row = text[text.index(head) + 2]
    columns = ["arm", "useful", "pruned", "failed", "unfinished", "redone", "lost"]
    assert head.split() == columns
    assert row.split() == ["sigma", "0.0", "1.0", "0.0", "0.0", "1.2", "1.2"]


def test_a_study_that_has_only_begun(make_stream: Make) -> None:
    report = report_of(make_stream())
    assert "can't be told" in report.verdict[0]
    assert report.paid.engines == 4.0


def test_one_seed_one_trial(make_stream: Make) -> None:
    stream = make_stream(seeds=[101])
    stream.search("tpe", [8.0])
    stream.confirm("tpe", {101: 9.0}, chosen_from=0)
    stream.confirm("sigma", {101: 9.5})
    report = report_of(stream)
    assert report.comparisons[0].outcome is Outcome.UNKNOWN
    assert "one seed gives no interval" in report.verdict[0]


def test_every_trial_failed(make_stream: Make) -> None:
    stream = make_stream()
    stream.search("tpe", [None, None])
    stream.confirm("sigma", {101: None, 102: None, 103: None})
    report = report_of(stream)
    assert "can't be told" in report.verdict[0]
    assert (
        "sigma: no cost to one model, because none of its confirm runs is complete." in report.notes
    )
    assert report.arms[1].failed_seeds == 3


def test_a_failed_seed_is_left_out_and_said(make_stream: Make) -> None:
    stream = make_stream()
    stream.search("tpe", [8.0])
    stream.confirm("tpe", {101: 9.0, 102: None, 103: 9.1}, chosen_from=0)
    stream.confirm("sigma", {101: 9.5, 102: 1.0, 103: 9.7})
    report = report_of(stream)
    assert report.comparisons[0].difference.n == 2
    assert report.comparisons[0].difference.mean == pytest.approx(-0.55)
    assert any("1 of its confirm runs failed and are in no mean" in note for note in report.notes)


def test_equal_values_everywhere(make_stream: Make) -> None:
    stream = make_stream()
    stream.search("tpe", [9.0, 9.0])
    stream.confirm("tpe", {101: 9.0, 102: 9.0}, chosen_from=0)
    stream.confirm("sigma", {101: 9.0, 102: 9.0})
    report = report_of(stream)
    assert "equal on all 2 paired seeds" in report.verdict[0]
    assert report.comparisons[0].outcome is Outcome.UNKNOWN


@pytest.mark.parametrize(
    ("present", "missing"), [("hand", "automatic"), ("automatic", "hand-tuned")]
)
def test_a_study_of_one_kind_of_arm(
    make_stream: Make, arms: Arms, present: str, missing: str
) -> None:
    stream = make_stream({"only": arms[present]})
    stream.search("only", [8.0])
    stream.confirm("only", {101: 9.0, 102: 9.1}, chosen_from=0)
    report = report_of(stream)
    assert f"the study has no {missing} arm" in report.verdict[0]
    assert report.comparisons == []
    assert "minus each automatic" not in as_text(report)


def test_numerics_keys_that_differ_are_named(make_stream: Make) -> None:
    stream = make_stream()
    for number, width in enumerate((2, 1)):
        stream.begin(stream.ask("sigma", "confirm", number, number, {}), {"torch": "2", "K": width})
    note = "Trials ran under 2 numerics keys (different: K)"
    assert any(text.startswith(note) for text in report_of(stream).notes)


def test_accounts_that_do_not_add_up_are_said(whole: Any) -> None:
    whole.start_engine("e2.0", startup=0.0)
    whole.begin("sigma.confirm.r0.fixed.0000")
    assert "do not add up" not in " ".join(report_of(whole).notes)
    name = whole.ask("sigma", "confirm", 9, 9, {})
    whole.train(name, "complete", 3.0, test=3.0)
    whole.stop_engine(training=0.5)
    assert "do not add up" in " ".join(report_of(whole).notes)


def test_markup_in_names_is_text(make_stream: Make, arms: Arms) -> None:
    stream = make_stream({"tpe": arms["hand"], "sigma": arms["automatic"]})
    terminal = Terminal()
    render(build_report(build_tables(stream.entries), warnings=["[bold]x[/bold] [link"]), terminal)
    assert "[bold]x[/bold] [link" in terminal.getvalue()


def test_reading_records_needs_neither_ray_nor_torch() -> None:
    code = (
        "import sys, study.analysis, study.analysis.rendering.figures.catalogue; "
        "print([m for m in ('ray', 'torch', 'optuna', 'mlflow') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_an_arm_whose_models_ignore_their_latents_is_noted(make_stream: Any) -> None:
    stream = make_stream()
    stream.search("tpe", [8.0])
    stream.confirm("tpe", {101: 9.0, 102: 9.2}, chosen_from=0)
    collapsed = [{"active_units": 0.0}, {"active_units": 1.0}]
    stream.confirm("sigma", {101: 9.4, 102: 9.5}, closely=collapsed)
    found = [note for note in build_report(build_tables(stream.entries)).notes if "latents" in note]
    assert found == [
        "sigma: 0.5 latents in use on average over its confirm runs: models without one ignore "
        "their latents (posterior collapse)."
    ]
