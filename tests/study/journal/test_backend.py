"""The journal as Optuna's storage: to write one's trials in, and to look at from anywhere."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import optuna_dashboard
import pytest
from journals import launch
from optuna.storages import BaseStorage, JournalStorage
from optuna.testing.pytest_storages import StorageTestCase
from optuna.trial import FrozenTrial, TrialState
from werkzeug.test import Client

from study.journal import Journal, LeaseLostError
from study.journal.backend import JournalBackend, ReadOnlyBackend, ReadOnlyError
from study.journal.events import StudyFinished


def writing(home: Path) -> tuple[Journal, JournalStorage]:
    journal = Journal(home, take_over=True)
    return journal, JournalStorage(JournalBackend(journal))


class Committing(JournalBackend):
    """Every operation is a decision of its own."""

    def __init__(self, journal: Journal) -> None:
        super().__init__(journal)
        self._commit = journal.commit

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        super().append_logs(logs)
        self._commit()


def looking(home: Path) -> JournalStorage:
    return JournalStorage(ReadOnlyBackend(home))


def ran(storage: BaseStorage) -> optuna.Study:
    """A study of five trials, in each state a trial can have."""
    study = optuna.create_study(study_name="s", storage=storage)
    study.set_user_attr("question", {"why": [1, None]})
    space = {
        "x": optuna.distributions.FloatDistribution(0.1, 10, log=True),
        "c": optuna.distributions.CategoricalDistribution(["a", 2, None]),
    }
    for n, state in enumerate((TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)):
        trial = study.ask(space)
        trial.report(1.0 / (n + 1), step=1)
        study.tell(trial, float(n) if state == TrialState.COMPLETE else None, state)
    study.ask(space)
    study.enqueue_trial({"x": 1.0})
    return study


def shown(trials: list[FrozenTrial]) -> list[str]:
    return [repr(trial) for trial in trials]


class TestOptunasOwnContract(StorageTestCase):
    """Every test that Optuna holds its own storages to; none is left out."""

    @pytest.fixture
    def storage(self, tmp_path: Path) -> Iterator[BaseStorage]:
        journal = Journal(tmp_path)
        storage = JournalStorage(Committing(journal))
        yield storage
        journal.close()
        again = looking(tmp_path)  # and whatever it did, a reader of the file sees the same
        for study in storage.get_all_studies():
            found = again.get_all_trials(study._study_id)
            assert shown(found) == shown(storage.get_all_trials(study._study_id))
            attributes = again.get_study_user_attrs(study._study_id)
            assert repr(attributes) == repr(storage.get_study_user_attrs(study._study_id))


class TestWriting:
    def test_a_study_reopened_from_the_journal_is_the_same_study(self, tmp_path: Path) -> None:
        journal, kept = writing(tmp_path)
        study = ran(kept)
        journal.append(StudyFinished())
        journal.commit()
        _, again = writing(tmp_path)
        loaded = optuna.load_study(study_name="s", storage=again)
        assert shown(loaded.trials) == shown(study.trials)
        assert [trial.state.name for trial in loaded.trials] == [
            *("COMPLETE", "PRUNED", "FAIL", "RUNNING", "WAITING")
        ]
        assert loaded.ask().number == 4  # the one that waits

    def test_operations_and_events_of_a_group_are_kept_together_or_not_at_all(
        self, tmp_path: Path
    ) -> None:
        journal, kept = writing(tmp_path)
        study = optuna.create_study(study_name="s", storage=kept)
        journal.commit()
        study.ask()
        journal.append(StudyFinished())
        _, again = writing(tmp_path)  # as after a kill before the commit
        assert optuna.load_study(study_name="s", storage=again).trials == []

    def test_a_driver_that_lost_its_lease_changes_nothing_in_optuna(self, tmp_path: Path) -> None:
        frozen, kept = writing(tmp_path)
        study = optuna.create_study(study_name="s", storage=kept)
        frozen.commit()
        successor, _ = writing(tmp_path)
        study.ask()
        with pytest.raises(LeaseLostError):
            frozen.commit()
        successor.close()
        assert optuna.load_study(study_name="s", storage=looking(tmp_path)).trials == []


class TestLooking:
    def test_optuna_sees_the_same_trials(self, tmp_path: Path) -> None:
        journal, kept = writing(tmp_path)
        study = ran(kept)
        journal.commit()
        loaded = optuna.load_study(study_name="s", storage=looking(tmp_path))
        assert shown(loaded.trials) == shown(study.trials)
        assert loaded.user_attrs == study.user_attrs
        assert loaded.best_trial.number == 0

    def test_it_follows_what_the_driver_commits_and_a_later_one(self, tmp_path: Path) -> None:
        journal, kept = writing(tmp_path)
        look = looking(tmp_path)
        assert look.get_all_studies() == []
        study = optuna.create_study(study_name="s", storage=kept)
        journal.commit()
        seen = optuna.load_study(study_name="s", storage=look)
        for n in range(4):
            study.tell(study.ask(), float(n))
            journal.commit()
            assert shown(seen.trials) == shown(study.trials)
        journal, kept = writing(tmp_path)
        study = optuna.load_study(study_name="s", storage=kept)
        study.tell(study.ask(), 9.0)
        assert len(seen.trials) == 4
        journal.commit()
        assert [trial.value for trial in seen.trials] == [0.0, 1.0, 2.0, 3.0, 9.0]

    def test_it_changes_nothing(self, tmp_path: Path) -> None:
        journal, kept = writing(tmp_path)
        ran(kept)
        journal.commit()
        journal.close()
        before = {path: path.read_bytes() for path in (tmp_path / "journal").iterdir()}
        look = looking(tmp_path)
        study = optuna.load_study(study_name="s", storage=look)
        trial = study.trials[3]._trial_id
        for change in (
            lambda: optuna.create_study(study_name="other", storage=look),
            lambda: optuna.delete_study(study_name="s", storage=look),
            study.ask,
            lambda: study.set_user_attr("a", 1),
            lambda: look.set_trial_intermediate_value(trial, 1, 2.0),
            lambda: look.set_trial_state_values(trial, TrialState.COMPLETE, [1.0]),
        ):
            with pytest.raises(ReadOnlyError, match="this storage is read-only"):
                change()
        assert len(study.trials) == 5
        assert {path: path.read_bytes() for path in (tmp_path / "journal").iterdir()} == before

    @pytest.mark.parametrize("kind", [looking, lambda home: writing(home)[1]])
    def test_a_storage_handed_to_another_process_looks(self, tmp_path: Path, kind: Any) -> None:
        journal, kept = writing(tmp_path)
        study = ran(kept)
        journal.commit()
        journal.close()
        copy = pickle.loads(pickle.dumps(kind(tmp_path)))
        loaded = optuna.load_study(study_name="s", storage=copy)
        assert shown(loaded.trials) == shown(study.trials)
        with pytest.raises(ReadOnlyError):
            loaded.ask()


def get(storage: BaseStorage, path: str) -> Any:
    """What optuna-dashboard answers."""
    answer = Client(optuna_dashboard.wsgi(storage)).get(path)
    assert answer.status_code == 200, answer.text
    return answer.json


class TestDashboard:
    def test_it_shows_a_study_while_it_runs_and_changes_nothing(self, tmp_path: Path) -> None:
        journal = launch(tmp_path, 4)
        look = looking(tmp_path)
        studies = {s["study_name"]: s for s in get(look, "/api/studies")["study_summaries"]}
        assert set(studies) == {"hand.search.r0", "auto.confirm.r0.fixed"}
        path = f"/api/studies/{studies['hand.search.r0']['study_id']}"
        written = JournalStorage(JournalBackend(journal))
        trials = optuna.load_study(study_name="hand.search.r0", storage=written).trials
        found = get(look, path)["trials"]
        assert [trial["number"] for trial in found] == [trial.number for trial in trials]
        assert [trial["state"].upper() for trial in found] == [trial.state.name for trial in trials]
        assert [[p["param_internal_value"] for p in trial["params"]] for trial in found] == [
            list(trial.params.values()) for trial in trials
        ]
        assert [[v["value"] for v in trial["intermediate_values"]] for trial in found] == [
            list(trial.intermediate_values.values()) for trial in trials
        ]
        client = Client(optuna_dashboard.wsgi(look))
        for route, body in (
            ("/api/studies", {"study_name": "mine", "directions": ["minimize"]}),
            (f"/api/trials/{found[-1]['trial_id']}/tell", {"state": "Fail"}),
        ):
            assert client.post(route, json=body).status_code >= 400
        launch(tmp_path, 100)
        assert [trial["state"] for trial in get(look, path)["trials"]] == ["Complete"] * 3
        names = {s["study_name"] for s in get(look, "/api/studies")["study_summaries"]}
        assert len(names) == 3
        assert "mine" not in names
