"""What a study looks like in MLflow, and that each event arrives once."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from mlflow import MlflowClient

from study.analysis.answers.by_arm import ArmAnswer
from study.journal.events import (
    CapReached,
    EngineDied,
    Reported,
    Stopped,
    StudyDescribed,
    StudyInterrupted,
    TrialPlaced,
    TrialSuspended,
)
from study.tracking import MlflowWriter
from study.tracking.projection import Projection
from study.tracking.sink import Sink

if TYPE_CHECKING:
    from .conftest import Journal, Store


def two_arms(journal: Journal) -> None:
    """A searching arm of two trials and an automatic arm, each confirmed on two seeds."""
    journal.begin()
    for number in range(2):
        journal.train(journal.ask(number), reports=2 + number)
    journal.choose(1, 100 / 3)
    for arm, chosen in (("tpe", 1), ("auto", None)):
        for number, seed in enumerate((101, 102)):
            trial = journal.ask(number, arm=arm, seed=seed, chosen_from=chosen)
            journal.train(trial, reports=4 - number, artifacts=journal.pictures(trial))
    journal.finish()


def test_runs_form_a_tree_with_names_and_tags(journal: Journal, store: Store) -> None:
    two_arms(journal)
    store.write(journal.home, journal.entries)
    found = store.runs()
    assert {run.info.status for run in found.values()} == {"FINISHED"}
    assert set(found) == {
        "study",
        *("arm/tpe", "arm/auto"),
        *("trial/tpe.search.r0.0000", "trial/tpe.search.r0.0001"),
        *("trial/tpe.confirm.r0.0000", "trial/tpe.confirm.r0.0001"),
        *("trial/auto.confirm.r0.0000", "trial/auto.confirm.r0.0001"),
    }
    parents = {key: run.data.tags.get("mlflow.parentRunId") for key, run in found.items()}
    assert parents["study"] is None
    assert parents["arm/tpe"] == parents["arm/auto"] == found["study"].info.run_id
    assert parents["trial/tpe.search.r0.0001"] == found["arm/tpe"].info.run_id
    assert parents["trial/auto.confirm.r0.0001"] == found["arm/auto"].info.run_id
    assert len({run.info.run_name for run in found.values()}) == len(found)

    tags = found["trial/tpe.confirm.r0.0001"].data.tags
    expected = {
        "study.name": "digits-beta",
        "study.arm": "tpe",
        "study.phase": "confirm",
        "study.replicate": "0",
        "study.number": "1",
        "study.seed": "102",
        "study.trial": "tpe.confirm.r0.0001",
        "study.chosen_from": "1",
        "study.spec_hash": "5e" * 32,
        "study.code_version": "0.1.0",
        "study.numerics": '{"dtype": "f", "width": 4}',
        "study.state": "complete",
    }
    assert expected.items() <= tags.items()


def test_params_are_resolved_settings_and_what_was_searched(journal: Journal, store: Store) -> None:
    journal.begin()
    trial = journal.ask(0, params={"beta": 4.0, "training.lr": 0.001})
    journal.train(trial)
    store.write(journal.home, journal.entries)
    assert store.runs()[f"trial/{trial}"].data.params == {
        "model.name": "mlp",
        "model.latent": "8",
        "training.lr": "0.001",
        "training.dequantize": "false",
        "balancer.name": "fixed_beta",
        "balancer.beta": "0.5",
        "beta": "4.0",
    }


def test_metrics_carry_the_events_time_and_running_costs(journal: Journal, store: Store) -> None:
    journal.begin()
    trial = journal.ask(0)
    journal.train(trial, reports=3)
    store.write(journal.home, journal.entries)
    run = store.runs()[f"trial/{trial}"]
    times = [int(e.time * 1000) for e in journal.entries if isinstance(e.event, Reported)]
    assert store.history(run, "train/S") == [
        (step, 9.0 / step, time) for step, time in zip((1, 2, 3), times, strict=True)
    ]
    assert [row[1] for row in store.history(run, "images")] == [1000, 2000, 3000]
    assert [row[1] for row in store.history(run, "device_seconds")] == [0.75, 1.5, 2.25]
    start = next(e for e in journal.entries if isinstance(e.event, TrialPlaced))
    assert (run.info.start_time, run.info.end_time) == (
        int(start.time * 1000),
        int(journal.entries[-1].time * 1000),
    )


def test_test_metrics_reach_confirm_runs_only(journal: Journal, store: Store) -> None:
    two_arms(journal)
    store.write(journal.home, journal.entries)
    for key, run in store.runs().items():
        tested = any(name.startswith("test/") for name in run.data.metrics)
        assert tested == (".confirm." in key)


def test_arms_show_the_best_so_far_and_the_mean_of_standing_confirm_runs(
    journal: Journal, store: Store
) -> None:
    journal.begin()
    for number, (reports, state) in enumerate(
        [(2, "complete"), (1, "complete"), (5, "pruned"), (4, "complete")]
    ):
        journal.train(journal.ask(number), reports=reports, state=state)
    journal.choose(3, 25.0)
    for number, (chosen, reports) in enumerate([(3, 2), (3, 4), (1, 5)]):
        trial = journal.ask(number, seed=101 + number, chosen_from=chosen)
        journal.train(trial, reports=reports)
    failed = journal.ask(3, seed=104, chosen_from=3)
    journal.train(failed, reports=1, state="failed", value=None, metrics={})
    store.write(journal.home, journal.entries)
    store.forget()
    store.write(journal.home, journal.entries)
    arm = store.runs()["arm/tpe"]
    rows = {name: [row[:2] for row in store.history(arm, name)] for name in arm.data.metrics}
    assert rows == {
        "search/best_r0": [(1, 50.0), (2, 50.0), (3, 50.0), (4, 25.0)],
        "confirm/mean": [(1, 50.0), (2, 37.5), (3, 37.5), (4, 37.5)],
    }


def test_states_are_honest(journal: Journal, store: Store) -> None:
    journal.begin()
    ends = {
        "complete": ("FINISHED", {}),
        "pruned": ("KILLED", {}),
        "failed": ("FAILED", {"reason": "diverged at step 2", "value": None, "metrics": {}}),
    }
    for number, (state, (_, more)) in enumerate(ends.items()):
        journal.train(journal.ask(number), state=state, **more)
    crashed = journal.ask(3)
    journal.start(crashed)
    journal.end(crashed, 0, "failed", reason="crashed", value=None, traceback="ValueError: no")
    store.write(journal.home, journal.entries)
    found = store.runs()
    for number, (state, (status, _)) in enumerate(ends.items()):
        run = found[f"trial/tpe.search.r0.{number:04d}"]
        assert (run.info.status, run.data.tags["study.state"]) == (status, state)
    assert found["trial/tpe.search.r0.0002"].data.tags["study.reason"] == "diverged at step 2"
    run = found[f"trial/{crashed}"]
    assert run.info.status == "FAILED"
    assert store.artifacts(run) == {"traceback.txt": "ValueError: no"}


def test_numbers_not_finite_are_shown_as_nan_once(journal: Journal, store: Store) -> None:
    journal.begin()
    trial = journal.ask(0)
    journal.start(trial)
    journal.report(trial, 1, **{"train/loss": math.nan, "train/R": math.inf})
    store.write(journal.home, journal.entries)
    store.forget()
    store.write(journal.home, journal.entries)
    run = store.runs()[f"trial/{trial}"]
    for name in ("train/loss", "train/R"):
        assert math.isnan(run.data.metrics[name])
        assert len(store.history(run, name)) == 1


def test_artifacts_history_and_dataset(journal: Journal, store: Store, tmp_path: Path) -> None:
    two_arms(journal)
    secret = tmp_path / "secret"
    secret.write_text("not of this study")
    trial = journal.ask(2, arm="auto", seed=103, chosen_from=None)
    journal.train(trial, artifacts={"samples": "../../secret", "checkpoint": "artifacts/gone.pt"})
    store.write(journal.home, journal.entries)
    found = store.runs()
    confirmed = "auto.confirm.r0.0000"
    assert store.artifacts(found[f"trial/{confirmed}"]) == {
        f"{name}/{confirmed}.{name}.{suffix}": f"{name} of {confirmed}"
        for name, suffix in (("checkpoint", "pt"), ("samples", "png"), ("reconstructions", "png"))
    } | {"model/MLmodel": confirmed}
    assert store.artifacts(found[f"trial/{trial}"]) == {}
    assert store.artifacts(found["study"]) == {"spec.yaml": "name: digits-beta\n"}
    lines = store.artifacts(found["arm/tpe"])["search_history.csv"].splitlines()
    assert lines[0] == "number,beta,value,state,replicate,images,device_seconds,seed"
    assert lines[2] == f"1,1.5,{100 / 3},complete,0,3000,2.25,7"
    assert len(lines) == 3  # the search only: confirm runs chose nothing
    assert store.artifacts(found["arm/auto"]) == {}

    for key in ("study", f"trial/{confirmed}"):
        inputs = found[key].inputs.dataset_inputs
        assert {(i.dataset.name, i.dataset.digest) for i in inputs} == {
            ("digits-train", "a" * 36),
            ("digits-test", "b" * 36),
        }


def test_the_best_confirmed_model_of_each_arm_is_registered_once(
    journal: Journal, store: Store
) -> None:
    two_arms(journal)
    store.write(journal.home, journal.entries)
    journal.launch()
    trial = journal.ask(2, arm="tpe", seed=103, chosen_from=1)
    journal.train(trial, reports=5, artifacts=journal.pictures(trial))
    journal.finish()
    store.write(journal.home, journal.entries)
    client, found = store.client, store.runs()
    for arm, best, versions in (("tpe", trial, 2), ("auto", "auto.confirm.r0.0000", 1)):
        name = f"digits-beta.{arm}"
        version = client.get_model_version_by_alias(name, "best")
        assert version.run_id == found[f"trial/{best}"].info.run_id
        model = Path(version.source.removeprefix("file://"))
        assert {path.name: path.read_text() for path in model.iterdir()} == {"MLmodel": best}
        assert len(client.search_model_versions(f"name = '{name}'")) == versions
        assert found[f"trial/{best}"].info.run_name in version.description


def test_a_model_that_cannot_be_made_keeps_nothing_else_from_mlflow(
    journal: Journal, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    def pack(trial: str, folder: Path) -> None:
        if trial.startswith("auto"):
            raise ModuleNotFoundError("No module named 'my_vae'")
        journal.pack(trial, folder)

    two_arms(journal)
    store.write(journal.home, journal.entries, pack)
    assert [m.name for m in store.client.search_registered_models()] == ["digits-beta.tpe"]
    assert store.runs()["arm/auto"].info.status == "FINISHED"
    assert "auto.confirm.r0.0000: No module named 'my_vae'" in caplog.text


def test_the_report_is_on_the_study(journal: Journal, store: Store, tmp_path: Path) -> None:
    journal.begin()
    (tmp_path / "report.txt").write_text("it does not pay")
    writer = MlflowWriter(store.uri, journal.home, lambda: True, journal.pack)
    for entry in [*journal.entries, journal.finish()]:
        writer.send(entry)
    writer.finish_study({"report/report.txt": tmp_path / "report.txt"}, "auto: 1.0, tpe: 12.4", {})
    assert writer.close(60) == 0
    study = store.runs()["study"]
    assert study.info.status == "FINISHED"
    note = study.data.tags["mlflow.note.content"]
    assert note.startswith("does a search pay?\n\nauto: 1.0, tpe: 12.4\n\n**How to read")
    experiment = store.client.get_experiment(study.info.experiment_id)
    assert experiment.tags["mlflow.note.content"] == "does a search pay?"
    assert store.artifacts(study)["report/report.txt"] == "it does not pay"


@pytest.mark.parametrize("forgotten", [False, True])
def test_sending_everything_again_changes_nothing(
    journal: Journal, store: Store, forgotten: bool
) -> None:
    two_arms(journal)
    store.write(journal.home, journal.entries)
    before = store.runs()
    if forgotten:
        store.forget()
    store.write(journal.home, journal.entries)
    after = store.runs()
    assert {key: run.to_dictionary() for key, run in after.items()} == {
        key: run.to_dictionary() for key, run in before.items()
    }
    for run in after.values():
        for stored in store.steps(run).values():
            assert len(stored) == len(set(stored))


def test_a_second_writer_continues_a_killed_firsts_runs(journal: Journal, store: Store) -> None:
    journal.begin()
    done, cut = journal.ask(0), journal.ask(1)
    journal.train(done)
    journal.start(cut)
    journal.report(cut, 1)
    store.write(journal.home, journal.entries)
    first = store.runs()
    assert first[f"trial/{cut}"].info.status == "RUNNING"

    journal.launch()
    journal.start(cut, width=2)
    journal.report(cut, 2)
    journal.end(cut, 2)
    journal.finish()
    store.write(journal.home, journal.entries)
    second = store.runs()
    assert {key: run.info.run_id for key, run in second.items()} == {
        key: run.info.run_id for key, run in first.items()
    }
    assert {run.info.status for run in second.values()} == {"FINISHED"}
    run = second[f"trial/{cut}"]
    assert store.steps(run)["validation/calibrated_elbo"] == [1, 2]
    assert store.history(run, "device_seconds")[-1][1] == 1.5
    assert run.data.tags["study.numerics"] == '{"dtype": "f", "width": 2}'


def test_interrupted_runs_are_killed_and_run_on_resume(journal: Journal, store: Store) -> None:
    journal.begin()
    done, open_ = journal.ask(0), journal.ask(1)
    journal.ask(2)  # asked for, never started: no run of its own yet
    journal.train(done)
    journal.start(open_)
    journal.report(open_, 1)
    journal.add(StudyInterrupted())
    store.write(journal.home, journal.entries)
    found = store.runs()
    stopped = {"study", "arm/tpe", f"trial/{open_}"}
    assert set(found) == stopped | {f"trial/{done}"}
    for key in stopped:
        assert found[key].info.status == "KILLED"
        assert found[key].data.tags["study.state"] == "interrupted"
    assert found[f"trial/{done}"].info.status == "FINISHED"

    journal.launch()
    journal.start(open_)
    store.write(journal.home, journal.entries)
    found = store.runs()
    for key in stopped:
        assert found[key].info.status == "RUNNING"
        assert found[key].data.tags["study.state"] == "running"
    assert found[f"trial/{done}"].info.status == "FINISHED"


def test_a_cap_ends_the_study_and_interrupts_what_runs(journal: Journal, store: Store) -> None:
    journal.begin()
    done, open_ = journal.ask(0), journal.ask(1)
    journal.ask(2)  # asked for, never started
    confirm = journal.ask(0, seed=101, chosen_from=0)
    journal.train(done)
    journal.train(confirm, artifacts=journal.pictures(confirm))
    journal.start(open_)
    journal.report(open_, 1)
    journal.choose(0, 1.0)
    journal.add(CapReached(cap="max_images", limit=7000.0, spent=7040.0))
    store.write(journal.home, journal.entries)
    found = store.runs()
    states = {key: (run.info.status, run.data.tags["study.state"]) for key, run in found.items()}
    assert states == {
        "study": ("FINISHED", "capped"),
        "arm/tpe": ("FINISHED", "capped"),
        f"trial/{done}": ("FINISHED", "complete"),
        f"trial/{confirm}": ("FINISHED", "complete"),
        f"trial/{open_}": ("KILLED", "interrupted"),
    }
    assert found["study"].data.tags["study.reason"] == "max_images: 7,040 of 7,000"
    assert store.client.get_model_version_by_alias("digits-beta.tpe", "best").run_id == (
        found[f"trial/{confirm}"].info.run_id
    )

    journal.launch()
    journal.start(open_)
    journal.report(open_, 2)
    journal.end(open_, 2)
    journal.finish()
    store.write(journal.home, journal.entries)
    found = store.runs()
    assert {run.info.status for run in found.values()} == {"FINISHED"}
    assert found["study"].data.tags["study.reason"] == ""


def test_what_crashes_cost_is_in_the_device_seconds(journal: Journal, store: Store) -> None:
    journal.begin()
    trial = journal.ask(0)
    journal.add(EngineDied(trial, "e0"))
    journal.start(trial)
    journal.report(trial, 1)
    journal.report(trial, 2)
    journal.add(TrialSuspended(trial=trial, engine="e0", seconds={"training": 0.125}))
    journal.add(StudyInterrupted())
    journal.launch()
    journal.start(trial)
    journal.report(trial, 2, redone=True)
    journal.add(EngineDied(trial, "e1"))
    journal.report(trial, 3)
    journal.end(trial, 3)
    journal.finish()
    store.write(journal.home, journal.entries)
    run = store.runs()[f"trial/{trial}"]
    assert [row[:2] for row in store.history(run, "device_seconds")] == [
        (1, 0.75), (2, 1.5), (3, 1.5 + 0.125 + 0.75 + 0.75),
    ]  # fmt: skip
    assert all(steps in ([1, 2, 3], [3]) for steps in store.steps(run).values())
    assert run.data.tags["study.engine_deaths"] == "2"


def test_what_was_stopped_and_run_again_by_hand(journal: Journal, store: Store) -> None:
    journal.begin()
    ended, never = journal.ask(0), journal.ask(1)
    journal.start(ended)
    journal.report(ended, 1)
    journal.add(Stopped(arm="tpe"))
    for trial, step in ((ended, 1), (never, 0)):
        more = {"reason": "stopped by hand", "value": None, "metrics": {}}
        journal.end(trial, step, "pruned", **more)
    journal.start(ended)  # an engine had made ready for it meanwhile
    again = journal.ask(0, retry_of=ended)
    journal.train(again)
    confirm = journal.ask(1, seed=9, chosen_from=0, retry_of="tpe.confirm.r0.0001")
    journal.train(confirm)
    journal.finish()
    store.write(journal.home, journal.entries)
    found = store.runs()
    for trial in (ended, never):
        run = found[f"trial/{trial}"]
        assert (run.info.status, run.data.tags["study.state"]) == ("KILLED", "pruned")
        assert run.data.tags["study.reason"] == "stopped by hand"
        assert "study.retry_of" not in run.data.tags
    assert found["arm/tpe"].data.tags["study.stopped"] == "by hand"
    run = found[f"trial/{again}"]
    assert run.info.status == "FINISHED"
    assert run.data.tags["study.retry_of"] == ended
    assert run.info.run_name == "#0 retry 1 r0 tpe search"
    assert found[f"trial/{confirm}"].info.run_name == "seed 9 retry 1 r0 tpe confirm of #0"


def test_a_reason_does_not_outlive_what_it_explained(journal: Journal, store: Store) -> None:
    journal.begin()
    trial = journal.ask(0)
    journal.start(trial)
    journal.add(StudyInterrupted("OSError: no space left"))
    journal.launch()
    journal.train(trial)
    journal.finish()
    store.write(journal.home, journal.entries)
    for run in store.runs().values():
        assert run.info.status == "FINISHED"
        assert run.data.tags["study.reason"] == ""


def test_runs_told_of_events_the_journal_has_lost_get_each_step_once(
    journal: Journal, store: Store
) -> None:
    journal.begin()
    trial, other = journal.ask(0), journal.ask(1)
    journal.train(other)
    journal.start(trial)
    journal.report(trial, 1)
    journal.report(trial, 2)
    journal.end(trial, 2)
    journal.finish()
    store.write(journal.home, journal.entries)
    first = store.runs()

    journal.lose(3)
    journal.launch()
    journal.start(trial)
    journal.report(trial, 2)
    store.write(journal.home, journal.entries)
    assert store.runs()[f"trial/{trial}"].info.status == "RUNNING"
    journal.report(trial, 3)
    journal.end(trial, 3)
    journal.finish()
    store.write(journal.home, journal.entries)
    found = store.runs()
    assert {run.info.status for run in found.values()} == {"FINISHED"}
    assert {key: run.info.run_id for key, run in found.items()} == {
        key: run.info.run_id for key, run in first.items()
    }
    run = found[f"trial/{trial}"]
    assert store.steps(run)["validation/calibrated_elbo"] == [1, 2, 3]
    for run in found.values():
        assert all(len(steps) == len(set(steps)) for steps in store.steps(run).values())


def test_a_driver_that_lost_the_study_writes_nothing(journal: Journal, store: Store) -> None:
    journal.begin()
    trial = journal.ask(0)
    journal.start(trial)
    journal.report(trial, 1)
    journal.report(trial, 2)
    store.write(journal.home, journal.entries)
    before = {key: run.to_dictionary() for key, run in store.runs().items()}
    writer = MlflowWriter(store.uri, journal.home, lambda: False, journal.pack)
    journal.end(trial, 2)
    journal.train(journal.ask(1))
    journal.finish()
    for entry in journal.entries:
        writer.send(entry)
    assert writer.close(60) > 0
    assert writer.problem == "the study was taken over by another driver"
    assert writer.close(0) > 0
    assert {key: run.to_dictionary() for key, run in store.runs().items()} == before


def test_the_lease_is_looked_at_right_before_every_write(
    journal: Journal, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def watched(name: str, method: Any) -> Any:
        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            if "inside" not in seen[-1:]:  # MLflow's own calls of each other
                seen.append(name)
            seen.append("inside")
            answer = method(self, *args, **kwargs)
            while seen[-1] == "inside":
                seen.pop()
            return answer

        return call

    writes = ("create", "log", "set", "update", "delete", "restore")
    for name in dir(MlflowClient):
        if name.startswith(writes):
            monkeypatch.setattr(MlflowClient, name, watched(name, getattr(MlflowClient, name)))

    def held() -> bool:
        seen.append("held")
        return True

    two_arms(journal)
    writer = MlflowWriter(store.uri, journal.home, held, journal.pack)
    for entry in journal.entries:
        writer.send(entry)
    assert writer.close(60) == 0
    written = {name for name in seen if name != "held"}
    assert {"create_experiment", "create_run", "log_batch", "set_terminated", "log_text"} < written
    assert {"log_artifact", "create_model_version", "log_inputs"} < written
    for before, name in itertools.pairwise(seen):
        assert name == "held" or before == "held", name


@pytest.mark.parametrize("drain", [False, True])
def test_a_store_that_is_slow_is_waited_for_if_wanted_and_one_that_is_away_is_not(
    journal: Journal, store: Store, monkeypatch: pytest.MonkeyPatch, drain: bool
) -> None:
    clock = SimpleNamespace(now=0.0, monotonic=lambda: clock.now)
    monkeypatch.setattr("study.tracking.writer.time", clock)
    two_arms(journal)
    writer = MlflowWriter(store.uri, journal.home, lambda: True, journal.pack)
    write, calls = Sink.write, itertools.count()

    def slow(self: Sink, *arguments: Any) -> None:
        clock.now += 40  # seconds
        if next(calls) > 5:
            raise ConnectionError
        write(self, *arguments)

    monkeypatch.setattr(Sink, "write", slow)
    for entry in journal.entries:
        writer.send(entry)
    assert writer.close(60, drain=drain) > 0
    assert (next(calls) > 5) == drain
    assert clock.now < 400


@pytest.mark.parametrize("looks", [3, 17, 40])
def test_once_lost_nothing_more_is_written_and_the_next_driver_goes_on(
    journal: Journal, store: Store, looks: int
) -> None:
    two_arms(journal)
    left = iter(range(looks))
    writer = MlflowWriter(
        store.uri, journal.home, lambda: next(left, None) is not None, journal.pack
    )
    for entry in journal.entries:
        writer.send(entry)
    assert writer.close(60) > 0
    store.write(journal.home, journal.entries)
    for run in store.runs().values():
        assert run.info.status == "FINISHED"
        assert all(len(steps) == len(set(steps)) for steps in store.steps(run).values())


def test_a_driver_that_failed_leaves_failed_runs(journal: Journal, store: Store) -> None:
    journal.begin()
    open_ = journal.ask(0)
    journal.start(open_)
    journal.add(StudyInterrupted("OSError: no space left"))
    store.write(journal.home, journal.entries)
    for run in store.runs().values():
        assert (run.info.status, run.data.tags["study.state"]) == ("FAILED", "failed")
        assert run.data.tags["study.reason"] == "OSError: no space left"


def test_an_extended_study_goes_on_in_its_runs(journal: Journal, store: Store) -> None:
    two_arms(journal)
    store.write(journal.home, journal.entries)
    before = store.runs()
    study = journal.entries[0].event
    assert isinstance(study, StudyDescribed)
    journal.add(replace(study, spec_hash="6f" * 32))
    journal.launch()
    trial = journal.ask(2)
    journal.train(trial)
    journal.choose(2, 33.0)
    journal.finish()
    store.write(journal.home, journal.entries)
    after = store.runs()
    assert set(after) - set(before) == {f"trial/{trial}"}
    assert {run.info.status for run in after.values()} == {"FINISHED"}
    hashes = {key: run.data.tags["study.spec_hash"] for key, run in after.items()}
    assert hashes["study"] == hashes[f"trial/{trial}"] == "6f" * 32
    assert hashes["trial/tpe.search.r0.0001"] == "5e" * 32


def test_a_search_that_found_nothing_still_ends(journal: Journal, store: Store) -> None:
    journal.begin()
    trial = journal.ask(0)
    journal.start(trial)
    journal.end(trial, 0, "failed", reason="diverged at step 1")
    journal.choose(None, None)
    journal.finish()
    store.write(journal.home, journal.entries)
    arm = store.runs()["arm/tpe"]
    assert arm.info.status == "FINISHED"
    assert "failed" in store.artifacts(arm)["search_history.csv"]
    assert store.client.search_registered_models() == []


def test_a_step_reported_twice_is_taken_once(journal: Journal, store: Store) -> None:
    journal.begin()
    trial = journal.ask(0)
    journal.start(trial)
    journal.report(trial, 1)
    journal.report(trial, 1)
    store.write(journal.home, journal.entries)
    run = store.runs()[f"trial/{trial}"]
    assert store.steps(run)["train/S"] == [1]
    assert store.history(run, "device_seconds")[0][1] == 0.75


def test_another_study_of_the_same_name_keeps_its_own_runs(
    journal: Journal, store: Store, studies: Path
) -> None:
    journal.begin()
    store.write(journal.home, journal.entries)
    other = type(journal)(journal.home)
    other.engine("e0")  # another time for its study event
    other.begin()
    store.write(journal.home, other.entries)
    client = store.client
    experiment = client.get_experiment_by_name("digits-beta")
    assert len(client.search_runs([experiment.experiment_id])) == 2


def test_limits_of_a_call_are_kept(journal: Journal, store: Store) -> None:
    journal.begin()
    trial = journal.ask(0, params={f"p{i:03d}": "x" * 7000 for i in range(250)})
    journal.start(trial)
    for step in range(1, 6):
        journal.report(trial, step, **{f"m{i:03d}": float(i) for i in range(500)})
    store.write(journal.home, journal.entries)
    run = store.runs()[f"trial/{trial}"]
    assert len(run.data.params) == 250 + 6
    assert run.data.params["p249"] == "x" * 6000
    assert len(run.data.metrics) == 504
    assert store.steps(run)["m499"] == [1, 2, 3, 4, 5]


def test_what_the_store_refuses_is_left_out_and_said(
    journal: Journal, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    journal.begin()
    trial = journal.ask(0)
    journal.start(trial)
    journal.report(trial, 1, **{"not a key!": 1.0})
    journal.train(journal.ask(1))
    store.write(journal.home, journal.entries)
    assert f"trial/{trial}" in caplog.text
    assert store.runs()["trial/tpe.search.r0.0001"].info.status == "FINISHED"


def test_an_event_that_makes_no_sense_is_said_and_passed_over(
    journal: Journal, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    journal.begin()
    journal.start("tpe.search.r0.0099")  # of a trial nobody asked for
    journal.train(journal.ask(0))
    store.write(journal.home, journal.entries)
    assert "tpe.search.r0.0099" in caplog.text
    assert store.runs()["trial/tpe.search.r0.0000"].info.status == "FINISHED"


def test_a_run_made_twice_is_one_again(journal: Journal, store: Store) -> None:
    # As when the answer to create_run is lost: the run is there, and asked for once more.
    two_arms(journal)
    store.write(journal.home, journal.entries)
    before = store.runs()
    for key in ("arm/auto", "trial/tpe.search.r0.0001"):
        run = before[key]
        tags = {name: value for name, value in run.data.tags.items() if name != "study.last_event"}
        store.client.create_run(run.info.experiment_id, tags=tags)
    store.write(journal.home, journal.entries)
    after = store.runs()
    assert {key: run.info.run_id for key, run in after.items()} == {
        key: run.info.run_id for key, run in before.items()
    }


def test_answers_come_once_for_every_end_of_the_study(journal: Journal, store: Store) -> None:
    def conclude(**metrics: float) -> dict[str, Any]:
        answers = {
            "tpe": ArmAnswer(
                {f"answer/{k}": v for k, v in metrics.items()}, {"study.a": "b"}, "So."
            )
        }
        writer = MlflowWriter(store.uri, journal.home, lambda: True, journal.pack)
        for entry in journal.entries:
            writer.send(entry)
        writer.finish_study({}, "", {**answers, "never-began": answers["tpe"]})
        assert writer.close(60) == 0
        return {
            name: [(value, time) for _, value, time in store.history(store.runs()["arm/tpe"], name)]
            for name in ("answer/cost", "answer/trials")
        }

    def end() -> int:
        journal.train(journal.ask(len(journal.entries)))
        return int(journal.finish().time * 1000)

    journal.begin()
    first = end()
    assert conclude(cost=1.0, trials=5.0) == {
        "answer/cost": [(1.0, first)],
        "answer/trials": [(5.0, first)],
    }
    # A report made anew, perhaps by a later version, and one whose mark was not written.
    assert conclude(cost=3.0)["answer/cost"] == [(1.0, first)]
    store.client.delete_tag(store.runs()["arm/tpe"].info.run_id, "study.answers_of")
    assert conclude(cost=1.0, trials=5.0)["answer/cost"] == [(1.0, first)]
    journal.launch()
    second = end()
    told = conclude(cost=2.0)
    assert told["answer/cost"] == [(1.0, first), (2.0, second)]
    assert told["answer/trials"][0] == (5.0, first)
    assert math.isnan(told["answer/trials"][1][0])  # what is not known any more does not stand
    run = store.runs()["arm/tpe"]
    assert run.data.metrics["answer/cost"] == 2.0
    assert run.info.run_name == "tpe (hand-tuned)"
    assert run.data.tags["mlflow.note.content"] == "So."
    assert run.data.tags["study.a"] == "b"
    assert "arm/never-began" not in store.runs()


def test_answers_reach_a_run_told_of_events_the_journal_has_lost(
    journal: Journal, store: Store
) -> None:
    journal.begin()
    journal.train(journal.ask(0))
    journal.finish()
    for cost in (1.0, 2.0):
        writer = MlflowWriter(store.uri, journal.home, lambda: True, journal.pack)
        for entry in journal.entries:
            writer.send(entry)
        writer.finish_study({}, "", {"tpe": ArmAnswer({"answer/cost": cost}, {}, "")})
        assert writer.close(60) == 0
        journal.lose(1)
        journal.launch()
        journal.finish()
    assert store.runs()["arm/tpe"].data.metrics["answer/cost"] == 2.0


def test_an_arm_is_named_after_its_role_not_its_balancer(journal: Journal) -> None:
    journal.begin()
    study = journal.entries[0].event
    assert isinstance(study, StudyDescribed)
    roles = {"tpe": study.roles["auto"], "auto": {"hand_tuned": True, "why": "searches k"}}
    journal.add(replace(study, roles=roles))
    for arm in roles:
        journal.start(journal.ask(0, arm=arm))
    projection = Projection(journal.home)
    for entry in journal.entries:
        projection.add(entry)
    assert projection.describe("arm/tpe").name == "tpe (automatic)"
    assert projection.describe("arm/auto").name == "auto (hand-tuned)"
