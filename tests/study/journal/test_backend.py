"""The journal as Optuna's storage."""

from __future__ import annotations

from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.trial import TrialState

from study.journal import Journal
from study.journal.backend import JournalBackend


def storage(home: Path) -> tuple[Journal, JournalStorage]:
    journal = Journal(home, take_over=True)
    return journal, JournalStorage(JournalBackend(journal))


def test_a_study_reopened_from_the_journal_is_the_same_study(tmp_path: Path) -> None:
    journal, kept = storage(tmp_path)
    study = optuna.create_study(study_name="s", storage=kept)
    for n in range(3):
        trial = study.ask({"x": optuna.distributions.FloatDistribution(0.1, 10, log=True)})
        trial.report(1.0 / (n + 1), step=1)
        study.tell(trial, float(n), TrialState.COMPLETE)
    open_trial = study.ask()
    journal.append("report", {"not": "optuna's"})
    journal.commit()
    _, again = storage(tmp_path)
    loaded = optuna.load_study(study_name="s", storage=again)
    assert [t.params for t in loaded.trials] == [t.params for t in study.trials]
    assert [t.value for t in loaded.trials] == [0.0, 1.0, 2.0, None]
    assert loaded.trials[1].intermediate_values == {1: 0.5}
    assert loaded.trials[open_trial.number].state == TrialState.RUNNING


def test_operations_and_events_of_a_group_are_kept_together_or_not_at_all(tmp_path: Path) -> None:
    journal, kept = storage(tmp_path)
    study = optuna.create_study(study_name="s", storage=kept)
    journal.commit()
    study.ask()
    journal.append("trial", {})
    _, again = storage(tmp_path)  # as after a kill before the commit
    assert optuna.load_study(study_name="s", storage=again).trials == []
