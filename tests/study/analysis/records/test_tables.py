from __future__ import annotations

import json
from collections.abc import Callable
from math import fsum
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from study.analysis.records.engine_time import PURPOSES
from study.analysis.records.tables import (
    Role,
    build_tables,
    load,
    recorded_roles,
    study_facts,
    write_records,
)
from study.journal.events import (
    CapReached,
    ConfigurationChosen,
    EngineChanged,
    EngineDied,
    Reported,
    ShapeTimed,
    Stopped,
    StudyInterrupted,
    TrialEnded,
    TrialSuspended,
)
from vae_core.errors import UserError

Make = Callable[..., Any]


def trial_rows(stream: Any) -> dict[str, dict[str, Any]]:
    return {row["trial"]: row for row in build_tables(stream.entries)["trials"].to_pylist()}


def test_a_row_per_report_and_per_trial_in_spec_order(whole: Any) -> None:
    tables = build_tables(whole.entries)
    trials, records = tables["trials"], tables["records"]
    assert trials["trial"].to_pylist() == [
        *(f"tpe.search.r0.{n:04d}" for n in range(4)),
        *(f"tpe.confirm.r0.from3.{n:04d}" for n in range(3)),
        *(f"sigma.confirm.r0.fixed.{n:04d}" for n in range(3)),
    ]
    assert trials["state"].to_pylist() == ["complete", "pruned", "failed"] + ["complete"] * 7
    assert trials["chosen"].to_pylist() == [False, False, False] + [True] * 7
    assert trials["images"].to_pylist() == [1000, 500, 0] + [1000] * 7
    assert trials["steps"].to_pylist() == [2, 1, 0] + [2] * 7
    assert records["step"].to_pylist() == [1, 2, 1] + [1, 2] * 7
    first = trials.slice(0, 1).to_pylist()[0]
    assert json.loads(first["params"]) == {"beta": 0.5}
    assert first["settings"] == '{"balancer": {"beta": 0.5}, "model": {"z": 1}}'
    assert first["objective"] == 10.0
    assert first["validation_calibrated_negative_elbo"] == 10.0
    assert first["standard_seconds"] == 1.0
    assert first["test_calibrated_negative_elbo"] is None
    failed = trials.slice(2, 1).to_pylist()[0]
    assert (failed["reason"], failed["objective"], failed["beta"]) == (
        "diverged at step 1", None, None,
    )  # fmt: skip
    assert trials.slice(4, 1).to_pylist()[0]["test_calibrated_negative_elbo"] == 9.0


def test_rows_do_not_depend_on_the_order_trials_ran_in(make_stream: Make) -> None:
    def run(backwards: bool) -> Any:
        stream = make_stream()
        names = [stream.ask("sigma", "confirm", n, 100 + n, {}) for n in range(3)]
        names += [stream.ask("tpe", "search", n, n, {"beta": 1.0}) for n in range(2)]
        for name in reversed(names) if backwards else names:
            stream.train(name, "complete", 5.0)
        tables = build_tables(stream.entries)
        return tables["trials"].drop(["started", "ended"]), tables["records"].drop(["time"])

    assert run(True)[0].equals(run(False)[0])
    assert run(True)[1].equals(run(False)[1])


def test_a_clock_that_was_set_back_ends_no_trial_before_it_starts(make_stream: Make) -> None:
    """In journals of versions that recorded what the clock said."""
    stream = make_stream()
    stream.train(stream.ask("sigma", "confirm", 0, 100, {}), "complete", 5.0)
    stream.entries[-1] = stream.entries[-1]._replace(time=1.0)
    (row,) = trial_rows(stream).values()
    assert row["ended"] == row["started"]


def test_files_are_the_same_to_the_last_byte(whole: Any, tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    first.mkdir()
    second.mkdir()
    tables = build_tables(whole.entries)
    write_records(tables, first)
    write_records(build_tables(iter(whole.entries)), second)
    for file in ("records.parquet", "trials.parquet"):
        assert (first / file).read_bytes() == (second / file).read_bytes()
    assert sorted(path.name for path in first.iterdir()) == ["records.parquet", "trials.parquet"]
    assert all(table.equals(load(first)[name]) for name, table in tables.items())
    assert study_facts(load(first)["trials"])["spec"] == whole.spec


def test_load_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="table of records is not there") as error:
        load(tmp_path)
    assert error.value.where == str(tmp_path / "records.parquet")
    (tmp_path / "records.parquet").write_text("not parquet")
    with pytest.raises(UserError, match="cannot be read"):
        load(tmp_path)


def test_an_empty_study_has_empty_tables_of_the_same_columns(make_stream: Make, whole: Any) -> None:
    empty, full = build_tables(make_stream().entries), build_tables(whole.entries)
    for name, table in full.items():
        assert empty[name].num_rows == 0
        assert empty[name].schema.equals(table.schema)
    assert build_tables([])["trials"].num_rows == 0


def test_an_unknown_metric_gets_a_column_and_nan_is_null(make_stream: Make) -> None:
    stream = make_stream()
    name = stream.ask("sigma", "confirm", 0, 101, {})
    stream.begin(name)
    stream.report(name, 1, 5.0)
    stream.emit(Reported(trial=name, step=2, images=1000, seconds={}, engine="e1.0",
                metrics={"validation/fid": 3.5, "beta": float("nan"), "k": None}))  # fmt: skip
    tables = build_tables(stream.entries)
    assert tables["records"].schema.names[-1] == "validation_fid"
    assert tables["records"]["validation_fid"].to_pylist() == [None, 3.5]
    assert tables["records"]["beta"].to_pylist() == [0.25, None]
    assert tables["trials"]["validation_fid"].to_pylist() == [3.5]


def test_a_report_seen_twice_is_ignored_and_marked_redone_it_is_charged(make_stream: Make) -> None:
    stream = make_stream()
    name = stream.ask("sigma", "confirm", 0, 101, {})
    stream.begin(name)
    for step in (1, 2):
        stream.report(name, step, 5.0)
    stream.report(name, 2, 77.0)
    once = build_tables(stream.entries)
    stream.report(name, 2, 78.0, redone=True)
    twice = build_tables(stream.entries)
    assert once["records"].equals(twice["records"])
    assert once["records"]["validation_calibrated_negative_elbo"].to_pylist() == [5.0, 5.0]
    before, after = once["trials"].to_pylist()[0], twice["trials"].to_pylist()[0]
    assert (before["redone_images"], before["redone_seconds"]) == (0, 0.0)
    assert (after["redone_images"], after["redone_seconds"]) == (500, 1.25)
    assert (after["images"], after["standard_seconds"]) == (1000, 1.0)
    assert after["billed_seconds"] == before["billed_seconds"] + 1.25


def test_states_of_trials_without_an_end(make_stream: Make) -> None:
    stream = make_stream()
    names = [stream.ask("sigma", "confirm", n, n, {}) for n in range(4)]
    stream.train(names[0], "complete", 1.0)
    stream.begin(names[1])
    stream.begin(names[2])
    states = {n: row["state"] for n, row in trial_rows(stream).items()}
    assert list(states.values()) == ["complete", "running", "running", "waiting"]
    stream.emit(StudyInterrupted())
    stream.launch(2)
    stream.begin(names[2])
    states = {n: row["state"] for n, row in trial_rows(stream).items()}
    assert list(states.values()) == ["complete", "interrupted", "running", "waiting"]


def test_a_crash_keeps_the_images_trained_on_before(make_stream: Make) -> None:
    stream = make_stream()
    name = stream.ask("sigma", "confirm", 0, 101, {})
    stream.begin(name)
    stream.report(name, 1, 5.0)
    stream.emit(Reported(trial=name, step=2, images=0, metrics={}, seconds={"training": 0.5},
                engine="e1.0"))  # fmt: skip
    stream.emit(TrialEnded(trial=name, state="failed", reason="crashed", step=2, value=None))
    tables = build_tables(stream.entries)
    assert tables["records"]["images"].to_pylist() == [500, 500]
    (row,) = tables["trials"].to_pylist()
    assert (row["state"], row["reason"], row["images"]) == ("failed", "crashed", 500)
    assert row["training_seconds"] == 1.5


def test_a_search_without_a_winner_has_chosen_nothing(make_stream: Make) -> None:
    stream = make_stream()
    stream.search("tpe", [None, None])
    stream.emit(ConfigurationChosen(arm="tpe", replicate=0, number=None, value=None))
    assert build_tables(stream.entries)["trials"]["chosen"].to_pylist() == [False, False]


def test_an_engine_s_own_account_may_name_its_start_up_again(make_stream: Make) -> None:
    stream = make_stream()
    stream.confirm("sigma", {101: 5.0})
    stream.stop_engine(start_up=4.0, training=2.0, evaluation=1.0, idle_slots=1.5, waiting=0.5)
    charged, engines = account(build_tables(stream.entries))
    assert engines == 9.0
    assert charged == pytest.approx(9.0, rel=1e-14)


def test_a_second_end_changes_nothing(make_stream: Make) -> None:
    stream = make_stream()
    name = stream.ask("sigma", "confirm", 0, 101, {})
    stream.train(name, "complete", 5.0, test=6.0)
    before = build_tables(stream.entries)
    stream.end(name, "failed", None)
    assert build_tables(stream.entries)["trials"].equals(before["trials"])


def test_confirm_runs_of_a_superseded_choice_are_not_chosen(make_stream: Make) -> None:
    stream = make_stream()
    stream.search("tpe", [5.0, 4.0])
    stream.confirm("tpe", {101: 6.0}, chosen_from=1)
    stream.train(stream.ask("tpe", "search", 2, 9, {"beta": 9.0}), "complete", 1.0)
    stream.emit(ConfigurationChosen(arm="tpe", replicate=0, number=2, value=1.0))
    stream.confirm("tpe", {101: 2.0}, chosen_from=2)
    rows = trial_rows(stream)
    assert {name: row["chosen"] for name, row in rows.items()} == {
        "tpe.search.r0.0000": False,
        "tpe.search.r0.0001": False,
        "tpe.search.r0.0002": True,
        "tpe.confirm.r0.from1.0000": False,
        "tpe.confirm.r0.from2.0000": True,
    }


def account(tables: dict[str, pa.Table]) -> tuple[float, float]:
    engines = study_facts(tables["trials"])["engines"]
    nobody = [seconds for engine in engines for seconds in engine["nobody"].values()]
    billed = tables["trials"]["billed_seconds"].to_pylist()
    return fsum([*billed, *nobody]), fsum(engine["total"] for engine in engines)


def test_billed_seconds_sum_to_the_engines_time(whole: Any) -> None:
    tables = build_tables(whole.entries)
    charged, engines = account(tables)
    assert engines == 4.0 + 17.0 + 9.25 + 6.0
    assert charged == pytest.approx(engines, rel=1e-14)
    trials = tables["trials"]
    purposes = [pc.sum(trials[f"{purpose}_seconds"]).as_py() for purpose in PURPOSES]
    assert purposes[:2] == [17.0, 9.25]


def test_two_engines_one_lost_share_all_their_time(make_stream: Make) -> None:
    stream = make_stream()
    names = [stream.ask("sigma", "confirm", n, n, {}) for n in range(3)]
    for name in names:
        stream.begin(name)
        stream.report(name, 1, 4.0)
    stream.end(names[0], "complete", 4.0)
    # 3.75 of training and evaluation were reported, 0.5 came with an end; 1.75 never did.
    stream.stop_engine("lost", training=4.5, evaluation=1.5, idle=0.25)
    stream.start_engine("e2.0", startup=2.0)
    for name in names[1:]:
        stream.begin(name)
        stream.report(name, 2, 4.0)
        stream.end(name, "complete", 4.0)
    stream.stop_engine(training=2.0, evaluation=1.5, idle=1.0)
    tables = build_tables(stream.entries)
    rows = tables["trials"].to_pylist()
    assert [row["lost_seconds"] for row in rows] == [0.0, 0.875, 0.875]
    assert fsum(row["startup_seconds"] for row in rows) == pytest.approx(6.0, rel=1e-14)
    charged, engines = account(tables)
    assert engines == 4.0 + 6.25 + 2.0 + 4.5
    assert charged == pytest.approx(engines, rel=1e-14)


def test_standard_seconds_need_a_pilot_of_the_shape(make_stream: Make) -> None:
    stream = make_stream(pilot=False)
    stream.confirm("sigma", {101: 5.0})
    waiting = stream.ask("sigma", "confirm", 1, 102, {})
    assert build_tables(stream.entries)["trials"]["standard_seconds"].to_pylist() == [None, 0.0]
    stream.emit(ShapeTimed(shape="mlp-8", width=2, seconds_per_image=0.002))
    stream.emit(ShapeTimed(shape="mlp-8", width=2, seconds_per_image=9.0))
    assert trial_rows(stream)[waiting]["standard_seconds"] == 0.0
    assert build_tables(stream.entries)["trials"]["standard_seconds"].to_pylist() == [2.0, 0.0]


def test_a_report_is_charged_to_the_engine_that_made_it(make_stream: Make) -> None:
    stream = make_stream()
    name = stream.ask("sigma", "confirm", 0, 101, {})
    stream.begin(name)
    stream.report(name, 1, 5.0)
    # e1 made report 2 as well, and died before the report was delivered; its heartbeat is older.
    stream.stop_engine("lost", {name: 0.5}, training=1.5, evaluation=0.25, waiting=1.0)
    stream.emit(EngineDied(trial=name, engine="e1.0"))
    stream.start_engine("e2.0", startup=2.0)
    stream.begin(name)
    stream.report(name, 2, 4.0, engine="e1.0")
    stream.end(name, "complete", 4.0)
    stream.stop_engine(training=0.0, evaluation=0.0, waiting=3.0)
    tables = build_tables(stream.entries)
    assert tables["records"]["engine"].to_pylist() == ["e1.0", "e1.0"]
    (row,) = tables["trials"].to_pylist()
    assert (row["engine"], row["engine_deaths"]) == ("e2.0", 1)
    assert (row["training_seconds"], row["evaluation_seconds"]) == (2.0, 1.0)
    assert (row["lost_seconds"], row["redone_seconds"], row["startup_seconds"]) == (0.0, 0.0, 4.0)
    first, second = study_facts(tables["trials"])["engines"]
    assert (first["total"], first["beyond"]) == (4.0 + 2.0 + 1.0 + 1.0, 1.25)
    assert (second["total"], second["nobody"]["unused start-up"]) == (5.0, 2.0)


def test_a_suspended_trial_is_charged_for_what_is_in_its_checkpoint(make_stream: Make) -> None:
    stream = make_stream()
    name = stream.ask("sigma", "confirm", 0, 101, {})
    stream.begin(name)
    stream.report(name, 1, 5.0)
    stream.emit(TrialSuspended(trial=name, engine="e1.0", seconds={"training": 0.75}))
    stream.stop_engine(training=1.75, evaluation=0.25)
    stream.emit(StudyInterrupted())
    (row,) = build_tables(stream.entries)["trials"].to_pylist()
    assert (row["state"], row["images"]) == ("interrupted", 500)
    assert (row["training_seconds"], row["lost_seconds"]) == (1.75, 0.0)
    assert account(build_tables(stream.entries)) == (pytest.approx(6.0), 6.0)


def test_an_engine_lost_before_its_start_was_recorded_is_known_from_its_heartbeat(
    make_stream: Make,
) -> None:
    stream = make_stream()
    name = stream.ask("sigma", "confirm", 0, 101, {})
    stream.launch(2)
    stream.emit(EngineChanged("e9", "lost", "cuda", width=4, startup_seconds=3.0,
                              seconds={"training": 1.5}, unreported={name: 1.5},
                              cause="driver"))  # fmt: skip
    stream.emit(EngineChanged("e8", "lost"))
    tables = build_tables(stream.entries)
    e1, e9, e8 = study_facts(tables["trials"])["engines"]
    assert (e1["closed"], e9["closed"], e8["closed"]) == (False, True, False)
    assert (e9["total"], e9["device"], e9["nobody"]["unused start-up"]) == (4.5, "cuda", 3.0)
    assert tables["trials"]["lost_seconds"].to_pylist() == [1.5]


def test_a_loss_recorded_twice_counts_once_by_its_fuller_account(make_stream: Make) -> None:
    stream = make_stream()
    name = stream.ask("sigma", "confirm", 0, 101, {})
    stream.begin(name)
    stream.stop_engine("lost", {name: 1.0}, training=1.0)
    once = build_tables(stream.entries)["trials"]
    stream.stop_engine("lost", {name: 1.0}, training=1.0)
    stream.stop_engine("lost", {name: 0.5}, training=0.5)
    assert build_tables(stream.entries)["trials"].equals(once)
    stream.stop_engine("lost", {name: 2.0}, training=2.0)
    later = build_tables(stream.entries)["trials"]
    assert later["lost_seconds"].to_pylist() == [2.0]
    (engine,) = study_facts(later)["engines"]
    assert (engine["state"], engine["total"]) == ("lost", 6.0)


def test_a_complete_retry_replaces_what_it_retries(make_stream: Make) -> None:
    stream = make_stream()
    stream.search("tpe", [5.0])
    names = [stream.ask("tpe", "confirm", n, 101 + n, {}, 0, 0) for n in range(2)]
    for name in names:
        stream.train(name, "failed", None)
    stream.confirm("sigma", {101: 6.0})
    again = [
        stream.ask("tpe", "confirm", n, 101 + n, {}, 0, 0, retry_of=name)
        for n, name in enumerate(names)
    ]
    stream.train(again[0], "complete", 6.0)
    stream.train(again[1], "failed", None)
    tables = build_tables(stream.entries)
    rows = {row["trial"]: row for row in tables["trials"].to_pylist()}
    assert list(rows) == [
        "tpe.search.r0.0000", names[0], again[0], names[1], again[1], "sigma.confirm.r0.fixed.0000",
    ]  # fmt: skip
    assert [rows[name]["chosen"] for name in (*names, *again)] == [False, False, True, True]
    assert rows[again[0]]["retry_of"] == names[0]
    assert rows[names[0]]["retry_of"] is None
    third = stream.ask("tpe", "confirm", 1, 102, {}, 0, 0, retry_of=again[1])
    assert third.endswith(".retry2")
    rows = trial_rows(stream)
    assert [rows[name]["chosen"] for name in (names[1], again[1], third)] == [False, False, True]


def test_stops_caps_and_isolation_are_facts_of_the_study(make_stream: Make) -> None:
    stream = make_stream()
    names = [stream.ask("sigma", "confirm", n, n, {}) for n in range(3)]
    for name in names:
        stream.begin(name)
    for engine, name in (("a", names[0]), ("b", names[0]), ("a", names[1]), ("c", names[0])):
        stream.emit(EngineDied(trial=name, engine=engine))
    stream.report(names[1], 1, 5.0)
    stream.emit(EngineDied(trial=names[1], engine="d"))
    stream.emit(Stopped(trial=names[2]))
    stream.emit(TrialEnded(names[2], "pruned", step=0, reason="stopped by hand"))
    stream.emit(Stopped(arm="tpe"))
    cap = CapReached("max_images", limit=500, spent=500)
    stream.emit(cap)
    trials = build_tables(stream.entries)["trials"]
    facts = study_facts(trials)
    assert facts["isolated"] == [names[0]]
    assert trials["engine_deaths"].to_pylist() == [3, 2, 0]
    assert facts["stopped"] == [names[2], "arm tpe"]
    assert (facts["capped"], facts["finished"]) == (cap.to_data(), False)
    assert trials["state"].to_pylist() == ["interrupted", "interrupted", "pruned"]
    assert trials["reason"].to_pylist() == ["", "", "stopped by hand"]
    stream.launch(2)
    assert study_facts(build_tables(stream.entries)["trials"])["capped"] is None


def test_roles_are_those_of_the_journal(make_stream: Make, arms: Any) -> None:
    stream = make_stream(
        {"tpe": arms["hand"], "own": arms["automatic"], "sigma": arms["automatic"]},
        hand_tuned={"own": "declared in the spec"},
    )
    trials = build_tables(stream.entries)["trials"]
    roles = recorded_roles(trials)
    assert roles["tpe"] == Role(hand_tuned=True, why="searches beta")
    assert roles["own"] == Role(hand_tuned=True, why="declared in the spec")
    assert roles["sigma"] == Role(hand_tuned=False, why="")
    assert roles["added to the spec since"] == Role(hand_tuned=False, why="")
    earlier = trials.replace_schema_metadata({"study": json.dumps({"spec": {}})})
    with pytest.raises(UserError, match="do not say which arms are hand-tuned"):
        recorded_roles(earlier)
