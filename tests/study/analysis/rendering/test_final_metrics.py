"""What a report says of final metrics: besides the objective, in tables, and in its notes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pyarrow.compute as pc
import pytest
import scipy.stats

from study.analysis.answers.report import Report, build_report, summary
from study.analysis.records.tables import build_tables, load, write_records
from study.analysis.rendering.tables.catalogue import tables
from study.analysis.rendering.tables.table import TextTable
from study.analysis.rendering.text import as_text
from study.journal.events import ConfigurationChosen, EngineChanged, Reported, StudyFinished

Make = Callable[..., Any]

NETWORK = {
    "network": "convolutional classifier, trained on this dataset's training images",
    "sha256": "0123456789abcdef" * 4,
    "preprocessing": "bytes to [-1, 1]",
    "dims": 64,
    "test_error": 0.0123456,
    "n": 10_000,
}
"""A network, as an engine describes it when it starts."""


def distances(value: float, network: str = "frechet_classifier") -> dict[str, float | None]:
    return {f"{network}_{what}": value + i for i, what in enumerate(("gen1", "rec", "gen2"))}


@pytest.fixture
def measured(make_stream: Make) -> Any:
    """A study whose arms are tied on the objective and differ by 4 in their samples' distance."""
    stream = make_stream(evaluation={"features": ["classifier"]})
    stream.search("tpe", [8.0])
    for arm, chosen, values in (("tpe", 0, (6.0, 7.0, 8.0)), ("sigma", None, (2.0, 3.0, 4.0))):
        stream.confirm(
            arm, {101: 9.0, 102: 9.25, 103: 9.5}, chosen_from=chosen,
            closely=[distances(value) for value in values],
        )  # fmt: skip
    return stream


def report_of(stream: Any) -> Report:
    return build_report(build_tables(stream.entries))


def table(report: Report, title: str) -> TextTable:
    (found,) = [each for each in tables(report) if each.title.startswith(title)]
    return found


def titles(report: Report) -> str:
    return "\n".join(each.heading for each in tables(report))


def test_the_distance_of_samples_is_shown_beside_the_objective(measured: Any) -> None:
    report = report_of(measured)
    assert report.second.name == "frechet_classifier_gen1"
    beside = table(report, "Other metrics")
    assert beside.columns[1] == "Frechet, 95 %"
    half = scipy.stats.t.ppf(0.975, 2) / 3**0.5
    assert [row[:2] for row in beside.rows] == [
        ["tpe", f"7.00 +- {half:.2f}"],
        ["sigma", f"3.00 +- {half:.2f}"],
    ]
    (second,) = report.second_comparisons
    assert second.difference.mean == pytest.approx(4.0)
    assert "The second objective says: by Frechet distance" in report.remarks[-1]
    assert "Bits per dimension" not in " ".join(report.notes), "they are not shown as a second one"


def test_a_study_that_asks_for_no_features_shows_bits_beside(make_stream: Make, whole: Any) -> None:
    for stream in (whole, make_stream(evaluation={"features": []})):
        report = report_of(stream)
        assert report.second.name == "bits_per_dim"
        assert table(report, "Other metrics").columns[1] == "bits/dim, 95 %"
        assert "Bits per dimension (uniform dequantisation)" in " ".join(report.notes)


def test_a_distance_can_decide(make_stream: Make) -> None:
    stream = make_stream(
        objective="frechet_classifier_gen1", evaluation={"features": ["classifier"]}
    )
    stream.search("tpe", [8.0])
    for arm, chosen, value in (("tpe", 0, 6.0), ("sigma", None, 2.0)):
        apart = 0.1 if arm == "tpe" else 0.06  # differences of 4.00, 4.04, ... 4.20
        for number, seed in enumerate(range(101, 107)):
            name = stream.ask(arm, "confirm", number, seed, {}, 0, chosen)
            stream.begin(name)
            metrics = {
                "validation/frechet_classifier_gen1": value,
                "validation/calibrated_negative_elbo": 1,
            }
            for step, away in ((1, 0.5), (2, 0.0)):
                found = {key: seen + away for key, seen in metrics.items()}
                stream.emit(Reported(name, step, 500 * step, found, {}, "e1.0"))
            stream.end(name, "complete", value, 9.0, distances(value + apart * number))
    stream.emit(StudyFinished())
    report = report_of(stream)
    assert report.verdict[0].startswith(
        "Searching does not pay: by Frechet distance of prior samples in a local classifier's "
        "features (lower is better) on test, automatic sigma is better than hand-tuned tpe, by "
        "4.10 [4.00, 4.20] over 6 paired seeds on this test set"
    )
    assert report.second.name == "calibrated_negative_elbo"
    tpe, _ = report.arms
    assert tpe.confirm_validation == 6.0
    assert tpe.images_to_final == 1000, "8 % above its end at the first report"


def test_images_to_the_final_value_are_the_confirm_runs_mean(make_stream: Make) -> None:
    stream = make_stream()
    names = [stream.ask("sigma", "confirm", n, 101 + n, {}) for n in range(3)]
    for name, first in zip(names, (9.05, 20.0, 9.0), strict=True):
        stream.begin(name)
        stream.report(name, 1, first)
        stream.report(name, 2, 9.0)
        stream.end(name, "complete", 9.0, 9.0)
    report = report_of(stream)
    assert report.arms[1].images_to_final == pytest.approx((500 + 1000 + 500) / 3)
    beside = table(report, "Other metrics")
    assert beside.columns[-1] == "to 1 %"
    assert [row[-1] for row in beside.rows] == ["-", "667"]


LIKELIHOOD = "Likelihood and uncertainty"
AGGREGATE = "Aggregate posterior"
FRECHET = "Frechet distance in a local classifier's features"


def test_tables_of_final_metrics_are_there_if_anything_is_in_them(
    whole: Any, measured: Any
) -> None:
    assert not [
        t for t in (LIKELIHOOD, AGGREGATE, FRECHET, "FID") if f"\n{t}" in titles(report_of(whole))
    ]
    report = report_of(measured)
    assert FRECHET in titles(report)
    assert LIKELIHOOD not in titles(report)
    assert "\nFID" not in titles(report)


def test_columns_are_what_any_arm_has_and_cells_the_mean_of_its_runs(make_stream: Make) -> None:
    stream = make_stream()
    stream.search("tpe", [8.0])
    tpe = {"discretised_bits_per_dim": 2.5, "coverage_90": 0.875, "fid_rec": 10.0, "iwae": None}
    head = {"own_bits_per_dim": 1.25, "coverage_90": 0.9, "smoothness": 1.5}
    other = {"own_bits_per_dim": 1.75, "coverage_90": None, "smoothness": float("nan")}
    stream.confirm("tpe", {101: 9.0}, chosen_from=0, closely=[tpe])
    stream.confirm("sigma", {101: 9.0, 102: None, 103: 9.0}, closely=[head, {}, other])
    report = report_of(stream)
    found = table(report, LIKELIHOOD)
    assert list(found.columns) == ["arm", "own", "mass", "90 %", "path"]
    assert [list(row) for row in found.rows] == [
        ["tpe", "-", "2.5000", "0.875", "-"],
        ["sigma", "1.5000", "-", "0.900", "1.50"],
    ]
    fid = table(report, "FID")
    assert [list(fid.columns), *map(list, fid.rows)] == [
        ["arm", "REC"], ["tpe", "10.00"], ["sigma", "-"],
    ]  # fmt: skip
    assert "nan" not in as_text(report)


def test_runs_of_before_the_aggregate_posterior_was_measured_have_a_dash(make_stream: Make) -> None:
    stream = make_stream()
    stream.search("tpe", [8.0])
    stream.confirm("tpe", {101: 9.0}, chosen_from=0, closely=[{"iwae": 1.0}])
    new = {"mutual_information": 6.5, "total_correlation": 1.25, "mmd": 0.00125}
    diverged = dict.fromkeys(new, float("nan"))
    stream.confirm("sigma", {101: 9.0, 102: 9.0, 103: 9.0}, closely=[new, {}, diverged])
    found = table(report_of(stream), AGGREGATE)
    assert list(found.columns) == ["arm", "MI", "TC", "MMD"]
    assert [list(row) for row in found.rows] == [
        ["tpe", "-", "-", "-"],
        ["sigma", "6.50", "1.25", "0.00125"],
    ]


def test_distances_are_in_the_papers_order_under_the_papers_words(make_stream: Make) -> None:
    stream = make_stream()
    values = ("mixture", "interpolation", "gen2", "gen1", "rec")
    found = {f"frechet_classifier_{what}": float(i) for i, what in enumerate(values)}
    stream.confirm("sigma", {101: 9.0}, closely=[found])
    shown = table(report_of(stream), FRECHET)
    assert list(shown.columns) == ["arm", "REC", "GEN-1", "GEN-2", "mixture", "interp."]
    assert list(shown.rows[1]) == ["sigma", "4.00", "3.00", "2.00", "0.00", "1.00"]


def test_search_trials_that_were_measured_too_are_in_no_mean(make_stream: Make) -> None:
    stream = make_stream(evaluation={"features": ["classifier"], "trials": "all"})
    name = stream.ask("tpe", "search", 0, 1, {"beta": 1.0})
    stream.train(name, "complete", 8.0, 8.0, distances(1.0))
    stream.emit(ConfigurationChosen("tpe", 0, 0, 8.0))
    report = report_of(stream)
    assert report.arms[0].means == {}
    assert FRECHET not in titles(report)


def test_json_has_every_mean(measured: Any) -> None:
    values = json.loads(json.dumps(summary(report_of(measured)), allow_nan=False))
    means = values["arms"][0]["means"]
    assert means["frechet_classifier_gen2"] == 9.0
    assert means["calibrated_negative_elbo"] == pytest.approx(9.25)
    assert values["arms"][0]["images_to_final"] == 1000


def start_engine(stream: Any, engine: str, features: Mapping[str, Any]) -> None:
    """Start an engine that measures distances in ``features``."""
    stream.engine = engine
    stream.emit(EngineChanged(engine, "started", "cpu", 2, 4.0, features=features))


def notes(stream: Any) -> list[str]:
    return [note for note in report_of(stream).notes if "Distances in" in note]


def test_a_note_names_network_sha_and_n(measured: Any) -> None:
    start_engine(measured, "e2.0", {"classifier": NETWORK})
    start_engine(measured, "e3.0", {"classifier": NETWORK})
    assert notes(measured) == [
        "Distances in classifier features: convolutional classifier, trained on this dataset's "
        "training images, SHA-256 0123456789ab, n = 10,000 test images against as many samples; "
        "preprocessing bytes to [-1, 1]; dims 64; test error 0.0123. They fall with n: compare at "
        "equal n only."
    ]


def test_without_features_nothing_is_said_of_them(whole: Any) -> None:
    start_engine(whole, "e2.0", {})
    assert notes(whole) == []


@pytest.mark.parametrize("change", [{"sha256": "f" * 64}, {"n": 5000}, {"network": "another"}])
def test_two_networks_or_sets_of_images_do_not_compare(
    measured: Any, change: Mapping[str, Any]
) -> None:
    start_engine(measured, "e2.0", {"classifier": NETWORK})
    start_engine(measured, "e3.0", {"classifier": {**NETWORK, **change}})
    complaint, _ = notes(measured)
    assert complaint == (
        "Distances in classifier features were measured with 2 different networks or reference "
        "images: they do not compare."
    )


def test_one_network_each_of_two_kinds_is_no_mix(measured: Any) -> None:
    inception = {**NETWORK, "network": "Inception-v3 (2015-12-05), pool 3", "dims": 2048}
    start_engine(measured, "e2.0", {"classifier": NETWORK, "inception": inception})
    found = notes(measured)
    assert [note.split(":")[0] for note in found] == [
        "Distances in classifier features", "Distances in inception features",
    ]  # fmt: skip


def test_parquet_has_a_column_for_every_final_metric(measured: Any, tmp_path: Any) -> None:
    stage = measured.ask("sigma", "confirm", 3, 104, {})
    measured.begin(stage)
    seconds = {"training": 1.0, "evaluation": 0.25, "second_stage": 8.5}
    measured.emit(Reported(stage, 1, 500, {"validation/frechet": 2.0}, seconds, "e1.0"))
    measured.stop_engine(training=14.0, evaluation=7.0, second_stage=8.5)
    write_records(build_tables(measured.entries), tmp_path)
    trials = load(tmp_path)["trials"]
    assert pc.sum(trials["second_stage_seconds"]).as_py() == 8.5
    (row,) = [row for row in trials.to_pylist() if row["trial"] == stage]
    assert row["second_stage_seconds"] == 8.5
    assert row["billed_seconds"] == pytest.approx(
        sum(row[f"{purpose}_seconds"] for purpose in ("training", "evaluation", "second_stage"))
        + row["startup_seconds"] + row["lost_seconds"]
    )  # fmt: skip
    names = [name for name in trials.schema.names if name.startswith("test_frechet")]
    assert names == [f"test_frechet_classifier_{what}" for what in ("gen1", "gen2", "rec")]
    assert trials["test_frechet_classifier_gen1"].to_pylist() == [
        None, 6.0, 7.0, 8.0, 2.0, 3.0, 4.0, None,
    ]  # fmt: skip
    records = load(tmp_path)["records"]
    assert records["validation_frechet"].to_pylist()[-1] == 2.0
    assert records["second_stage_seconds"].to_pylist() == [0.0] * 14 + [8.5]
