"""Runs deleted in MLflow's pages are made anew, and the page is as if nothing had happened."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from mlflow import MlflowClient
from mlflow.cli import gc
from mlflow.entities import ViewType
from waiting import until

from study.analysis.answers.by_arm import RunAnswer
from study.journal import Journal as JournalOnDisk
from study.journal import StudyHome
from study.journal.events import Entry, Stopped, StudyInterrupted
from study.launching.driver import _tracking
from study.launching.mlflow_process import MlflowProcess
from study.tracking import MlflowWriter, writer
from study.tracking.store import tracking_uri

if TYPE_CHECKING:
    from .conftest import Journal, Server, Store

EXPERIMENT = "the experiment"
FIRST, OPEN = "trial/tpe.search.r0.0000", "trial/tpe.search.r0.0001"
BEST = "trial/tpe.confirm.r0.0000"
WHILE_IT_RUNS = [
    (["study"], False),
    (["arm/tpe"], False),
    ([FIRST], False),  # it has ended: nothing more will be written to it
    ([OPEN], False),
    (["study", "arm/tpe", FIRST, OPEN], False),
    (["study", "arm/tpe", FIRST, OPEN], True),
    ([EXPERIMENT], False),
    ([EXPERIMENT], True),
]
BETWEEN_LAUNCHES = [
    (["study", "arm/tpe"], False),
    ([FIRST], False),
    (["study", OPEN], True),
]
AFTER_THE_END = [(["study", "arm/tpe"], False), ([BEST], False), (["arm/tpe", BEST], True)]


def first_part(journal: Journal) -> None:
    """Up to the middle of a search: a trial that has ended, one that is half-way."""
    journal.begin()
    journal.train(journal.ask(0))
    trial = journal.ask(1)
    journal.start(trial)
    journal.report(trial, 1)


def second_part(journal: Journal) -> None:
    """From there to the end."""
    trial = OPEN.removeprefix("trial/")
    journal.report(trial, 2)
    journal.end(trial, 2)
    journal.choose(0, 100 / 3)
    for arm, chosen in (("tpe", 0), ("auto", None)):
        confirm = journal.ask(0, arm=arm, seed=101, chosen_from=chosen)
        journal.train(confirm, artifacts=journal.pictures(confirm))
    journal.finish()


def seen(store: Store) -> dict[str, dict[str, Any]]:
    """All that a page shows of each active run, with keys instead of ids of runs."""
    runs = store.runs()
    keys = {run.info.run_id: key for key, run in runs.items()}
    shown = {}
    for key, run in runs.items():
        tags = dict(run.data.tags)
        tags["mlflow.parentRunId"] = keys[tags["mlflow.parentRunId"]] if key != "study" else ""
        if "study.model" in tags:
            name, _, trial = tags["study.model"].partition(" ")
            tags["study.model"] = f"{name} {keys[trial]}"
        shown[key] = {
            "name": run.info.run_name,
            "status": run.info.status,
            "times": (run.info.start_time, run.info.end_time),
            "tags": tags,
            "params": run.data.params,
            "metrics": {name: store.history(run, name) for name in run.data.metrics},
            "inputs": [str(each.dataset.to_dictionary()) for each in run.inputs.dataset_inputs],
            "artifacts": store.artifacts(run),
        }
    return shown


def best(store: Store) -> dict[str, str]:
    """Registered model -> key of the run that its alias names."""
    keys = {run.info.run_id: key for key, run in store.runs().items()}
    found = {}
    for model in store.client.search_registered_models():
        version = store.client.get_model_version_by_alias(model.name, "best")
        assert Path(version.source.removeprefix("file://"), "MLmodel").is_file()
        found[model.name] = keys[version.run_id]
    return found


def delete(store: Store, keys: Iterable[str], *, for_good: bool) -> None:
    runs = store.runs()
    for key in keys:
        if key == EXPERIMENT:
            store.client.delete_experiment(runs["study"].info.experiment_id)
        else:
            store.client.delete_run(runs[key].info.run_id)
    if for_good:
        at = {"MLFLOW_TRACKING_URI": store.uri}
        done = CliRunner(env=at).invoke(gc, ["--backend-store-uri", store.uri])
        assert done.exit_code == 0, done.output


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "_GATHER", 0.01)


@pytest.fixture
def findings(studies: Path) -> tuple[Any, ...]:
    """A report, the study's answer and an arm's."""
    (report := studies / "report.txt").write_text("it does not pay")
    answers = {"tpe": RunAnswer({"answer/cost": 1.0}, {"kind": "hand-tuned"}, "So.")}
    return {"report/report.txt": report}, RunAnswer({}, {}, "It does not pay."), answers


_UNDISTURBED: dict[str, Any] = {}


@pytest.fixture
def undisturbed(
    journal: Journal, studies: Path, database: Path, store_at: Callable[..., Store]
) -> Callable[..., Any]:
    """What the pages show of a whole study of which nothing was deleted."""

    def run(*findings: Any) -> Any:
        what = "concluded" if findings else "written"
        if what not in _UNDISTURBED:
            twin = studies.with_name("twin")
            twin.mkdir()
            shutil.copy(database, twin / "mlflow.db")
            shutil.copytree(journal.home, twin / journal.home.name)
            live = Live(twin, journal)
            live.send(journal.entries)
            live.close(*findings)
            _UNDISTURBED[what] = seen(store_at(tracking_uri(twin)))
        return _UNDISTURBED[what]

    return run


class Live:
    """A driver's writer, fed step by step."""

    def __init__(self, studies: Path, journal: Journal, uri: str = "") -> None:
        home = studies / journal.home.name
        self.writer = MlflowWriter(uri or tracking_uri(studies), home, lambda: True, journal.pack)

    def send(self, entries: Iterable[Entry]) -> None:
        """Send events, and wait until they are in MLflow."""
        for entry in entries:
            self.writer.send(entry)
        until(lambda: not self.writer.unsent, "MLflow to have all")

    def close(self, *findings: Any) -> None:
        if findings:
            self.writer.finish_study(*findings)
        assert self.writer.close(60) == 0, self.writer.problem


def anew(keys: list[str], *, for_good: bool) -> int:
    """How many runs are made anew; an experiment that is only marked as deleted is restored."""
    if keys == [EXPERIMENT]:
        return 4 if for_good else 0
    return len(keys)


@pytest.mark.parametrize(("keys", "for_good"), WHILE_IT_RUNS)
def test_a_study_goes_on_as_if_nothing_had_been_deleted(
    keys: list[str],
    for_good: bool,
    journal: Journal,
    store: Store,
    studies: Path,
    undisturbed: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    first_part(journal)
    live = Live(studies, journal)
    live.send(journal.entries)
    sent = len(journal.entries)
    delete(store, keys, for_good=for_good)
    second_part(journal)
    live.send(journal.entries[sent:])
    live.close()
    expected = undisturbed()
    assert seen(store) == expected
    assert live.writer.made_anew == anew(keys, for_good=for_good)
    assert caplog.text.count("deleted in MLflow") == 1
    assert best(store) == {
        "digits-beta.tpe": BEST,
        "digits-beta.auto": "trial/auto.confirm.r0.0000",
    }

    again = Live(studies, journal)
    again.send(journal.entries)
    again.close()
    assert seen(store) == expected
    assert again.writer.made_anew == 0
    assert caplog.text.count("deleted in MLflow") == 1


def test_a_server_tells_of_deleted_runs_too(
    journal: Journal, shared_server: Server, store_at: Callable[..., Store]
) -> None:
    journal.home = shared_server.studies / "deleted"
    journal.home.mkdir()
    first_part(journal)
    live = Live(shared_server.studies, journal, shared_server.uri)
    live.send(journal.entries)
    sent, store = len(journal.entries), store_at(shared_server.uri, "deleted")
    delete(store, ["study", "arm/tpe", FIRST, OPEN], for_good=False)
    second_part(journal)
    live.send(journal.entries[sent:])
    live.close()
    shown = seen(store)  # with the run of every parent
    assert set(shown) == {
        *("study", "arm/tpe", "arm/auto", FIRST, OPEN, BEST, "trial/auto.confirm.r0.0000")
    }
    assert [step for step, _, _ in shown[OPEN]["metrics"]["train/S"]] == [1, 2]
    assert live.writer.made_anew == 4


@pytest.mark.parametrize(("keys", "for_good"), BETWEEN_LAUNCHES)
def test_what_was_deleted_between_two_launches_is_made_anew_by_the_second(
    keys: list[str],
    for_good: bool,
    journal: Journal,
    store: Store,
    studies: Path,
    undisturbed: Any,
) -> None:
    first_part(journal)
    store.write(journal.home, journal.entries)
    delete(store, keys, for_good=for_good)
    second_part(journal)
    live = Live(studies, journal)
    live.send(journal.entries)
    live.close()
    assert seen(store) == undisturbed()
    # Of runs deleted for good between launches nothing tells that they were there.
    assert live.writer.made_anew == (0 if for_good else anew(keys, for_good=False))


@pytest.mark.parametrize(("keys", "for_good"), AFTER_THE_END)
def test_the_answers_and_the_best_model_come_back_after_the_end(
    keys: list[str],
    for_good: bool,
    journal: Journal,
    store: Store,
    studies: Path,
    findings: tuple[Any, ...],
    undisturbed: Any,
) -> None:
    first_part(journal)
    second_part(journal)
    for launch in range(2):
        live = Live(studies, journal)
        live.send(journal.entries)
        live.close(*findings)
        if launch == 0:
            delete(store, keys, for_good=for_good)
    assert seen(store) == undisturbed(*findings)
    assert best(store)["digits-beta.tpe"] == BEST


def test_what_is_deleted_as_the_study_ends_is_made_anew_before_the_launch_does(
    journal: Journal, store: Store, studies: Path, undisturbed: Any
) -> None:
    first_part(journal)
    second_part(journal)
    live = Live(studies, journal)
    live.send(journal.entries)
    delete(store, ["study", BEST], for_good=False)
    live.close()
    assert seen(store) == undisturbed()
    assert best(store)["digits-beta.tpe"] == BEST
    assert live.writer.made_anew == 2


@pytest.mark.studies
def test_a_launch_ends_with_their_number(
    journal: Journal, store: Store, studies: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first_part(journal)
    with closing(JournalOnDisk(journal.home)) as on_disk:
        for entry in journal.entries:
            on_disk.append(entry.event)
        on_disk.commit()
        said = []
        for keys in ([], ["study", "arm/tpe"], [FIRST], []):
            if keys:
                delete(store, keys, for_good=False)
            home = StudyHome(studies, journal.home.name)
            with MlflowProcess() as mlflow, _tracking(mlflow, home, on_disk):
                pass
            lines = capsys.readouterr().err.splitlines()
            said.append([line for line in lines if line.startswith("made anew")])
    assert said == [
        [],
        ["made anew: 2 runs that were deleted in MLflow"],
        ["made anew: 1 run that was deleted in MLflow"],
        [],
    ]


def params(journal: Journal) -> None:
    journal.start(journal.ask(1))


def metrics(journal: Journal) -> None:
    journal.report(FIRST.removeprefix("trial/"), 2)


def tags(journal: Journal) -> None:
    journal.add(Stopped(arm="tpe"))


def texts(journal: Journal) -> None:
    journal.choose(0, 50.0)


def status(journal: Journal) -> None:
    journal.add(StudyInterrupted())


@pytest.mark.parametrize(
    ("write", "deleted"),
    [(params, "study"), (metrics, FIRST), (tags, "arm/tpe"), (texts, "arm/tpe"), (status, "study")],
)
def test_the_next_write_of_any_kind_notices(
    write: Callable[[Journal], object], deleted: str, journal: Journal, store: Store, studies: Path
) -> None:
    journal.begin()
    trial = journal.ask(0)
    journal.start(trial)
    journal.report(trial, 1)
    live = Live(studies, journal)
    live.send(journal.entries)
    sent = len(journal.entries)
    run = store.runs()[deleted].info
    delete(store, [deleted], for_good=False)
    before = store.client.list_artifacts(run.run_id)
    write(journal)
    live.send(journal.entries[sent:])
    assert live.writer.made_anew == 1  # before the launch ends
    live.close()
    assert deleted in store.runs()
    # The deleted run stays as it was.
    assert store.client.list_artifacts(run.run_id) == before
    found = MlflowClient(store.uri).search_runs([run.experiment_id], "", ViewType.DELETED_ONLY)
    assert [each.info.run_id for each in found] == [run.run_id]


def test_an_extended_studys_runs_keep_the_spec_they_began_with(
    journal: Journal, store: Store, studies: Path
) -> None:
    first_part(journal)
    store.write(journal.home, journal.entries)
    described: Any = journal.entries[0].event
    journal.add(replace(described, spec_hash="6f" * 32))
    journal.launch()
    journal.train(journal.ask(2))
    store.write(journal.home, journal.entries)
    expected = seen(store)
    delete(store, ["study", "arm/tpe", FIRST, OPEN], for_good=False)
    store.write(journal.home, journal.entries)
    assert seen(store) == expected
