"""The report and its answers in MLflow."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.analysis.answers.by_arm import RunAnswer
from study.tracking import MlflowWriter
from study.tracking.guide import study_note

if TYPE_CHECKING:
    from .conftest import Journal, Store

NOTHING = RunAnswer({}, {}, "")


def test_the_report_is_on_the_study(journal: Journal, store: Store, tmp_path: Path) -> None:
    journal.begin()
    (tmp_path / "report.txt").write_text("it does not pay")
    writer = MlflowWriter(store.uri, journal.home, lambda: True, journal.pack)
    for entry in [*journal.entries, journal.finish()]:
        writer.send(entry)
    said = RunAnswer({"answer/difference": 0.5}, {"answer": "Not shown."}, "auto: 1.0, tpe: 12.4")
    writer.finish_study({"report/report.txt": tmp_path / "report.txt"}, said, {})
    assert writer.close(60) == 0
    study = store.runs()["study"]
    assert study.info.status == "FINISHED"
    note = study.data.tags["mlflow.note.content"]
    assert note.startswith("does a search pay?\n\nauto: 1.0, tpe: 12.4\n\n**How to read")
    experiment = store.client.get_experiment(study.info.experiment_id)
    assert experiment.tags["mlflow.note.content"] == "Not shown.\n\ndoes a search pay?"
    assert study.data.metrics == {"answer/difference": 0.5}
    assert study.data.tags["answer"] == "Not shown."
    assert store.artifacts(study)["report/report.txt"] == "it does not pay"


def test_answers_come_once_for_every_end_of_the_study(journal: Journal, store: Store) -> None:
    def conclude(**metrics: float) -> dict[str, Any]:
        answers = {
            "tpe": RunAnswer(
                {f"answer/{k}": v for k, v in metrics.items()}, {"study.a": "b"}, "So."
            )
        }
        writer = MlflowWriter(store.uri, journal.home, lambda: True, journal.pack)
        for entry in journal.entries:
            writer.send(entry)
        writer.finish_study({}, NOTHING, {**answers, "never-began": answers["tpe"]})
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
        writer.finish_study({}, NOTHING, {"tpe": RunAnswer({"answer/cost": cost}, {}, "")})
        assert writer.close(60) == 0
        journal.lose(1)
        journal.launch()
        journal.finish()
    assert store.runs()["arm/tpe"].data.metrics["answer/cost"] == 2.0


def test_a_question_is_shown_as_it_was_written() -> None:
    note = study_note("Does *beta* <search> pay at lr_<0.1>? #1\n# really")
    assert note.startswith(r"Does \*beta\* \<search\> pay at lr\_\<0.1\>? \#1 \# really" + "\n\n")
