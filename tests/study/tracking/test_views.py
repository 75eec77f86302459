"""The views that MLflow saves with a study: which there are, and what they name."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from study.analysis.answers.by_arm import RunAnswer
from study.journal.events import StudyDescribed
from study.tracking import MlflowWriter
from study.tracking.changes import ARM_RESULTS
from study.tracking.views import TAG, views

if TYPE_CHECKING:
    from .conftest import Journal, Store

SCORE = "answer/test_calibrated_negative_elbo_mean"
OTHER_METRICS = ("test/active_units", "test/bits_per_dim", "train/loss")
"""Of the views; every study records them at every report, but not the made-up one here."""


def state(value: str) -> dict[str, Any]:
    """What MLflow's page reads of a view's tag."""
    packed = json.loads(value)["state"]
    assert packed.startswith("deflate;")
    found: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(packed[8:])))
    return found


def described(journal: Journal) -> StudyDescribed:
    journal.begin()
    study = journal.entries[0].event
    assert isinstance(study, StudyDescribed)
    return study


def shown(view: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Kind and name of all that a view shows, sorts by or groups by."""
    for column in (view["orderByKey"], *view["selectedColumns"]):
        kind, _, name = column.partition(".")
        yield kind, name.strip("`")
    if view["groupBy"]:
        yield from (("tags", key["groupByData"]) for key in view["groupBy"]["groupByKeys"])
    for chart in view["compareRunCharts"]:
        yield from (("params", name) for name in chart.get("selectedParams", ()))
        yield from (("metrics", name) for name in chart.get("selectedMetrics", ()))
        yield from (("metrics", chart[key]) for key in ("metricKey",) if key in chart)
        for axis in ("xaxis", "yaxis"):
            if axis in chart:
                yield f"{chart[axis]['type'].lower()}s", chart[axis]["key"]


def finish(journal: Journal, store: Store) -> None:
    said = RunAnswer(
        {SCORE: 9.0, **dict.fromkeys(("answer/cost_ratio", "answer/cost_images"), 1.0)},
        dict.fromkeys(ARM_RESULTS, "so"),
        "",
    )
    writer = MlflowWriter(store.uri, journal.home, lambda: True, journal.pack)
    for entry in journal.entries:
        writer.send(entry)
    writer.finish_study({}, said, {"tpe": said, "auto": said})
    assert writer.close(60) == 0, writer.problem


def saved(journal: Journal, store: Store) -> dict[str, str]:
    tags = store.client.get_experiment_by_name(journal.home.name).tags
    return {name: value for name, value in tags.items() if name.startswith(TAG)}


def test_all_that_views_name_is_on_the_runs(journal: Journal, store: Store) -> None:
    journal.begin()
    for number, end in enumerate(("complete", "pruned", "failed")):
        value = {} if end == "complete" else {"value": None}
        journal.train(journal.ask(number), state=end, reason=end, **value)
    journal.choose(0)
    for arm in ("tpe", "auto"):
        journal.train(journal.ask(0, arm=arm, chosen_from=0))
    journal.finish()
    finish(journal, store)
    named = {pair for value in saved(journal, store).values() for pair in shown(state(value))}
    on_runs = {
        (kind, name)
        for run in store.runs().values()
        for kind in ("metrics", "params", "tags")
        for name in getattr(run.data, kind)
    }
    assert named - on_runs == {("metrics", name) for name in OTHER_METRICS}


@pytest.mark.parametrize("finished", [False, True])
def test_a_view_is_the_same_at_every_launch(journal: Journal, store: Store, finished: bool) -> None:
    journal.begin()
    if finished:
        journal.finish()
    store.write(journal.home, journal.entries)
    first = saved(journal, store)
    assert len(first) == 4
    created = [json.loads(value)["createdAt"] for value in first.values()]
    assert max(created) == int(journal.entries[0].time * 1000)
    # As in a study of an earlier version, which wrote none: the next launch does.
    experiment = store.client.get_experiment_by_name(journal.home.name).experiment_id
    for name in first:
        store.client.delete_experiment_tag(experiment, name)
    if finished:  # nothing happens but its report
        finish(journal, store)
    else:
        journal.launch()
        store.write(journal.home, journal.entries)
    assert saved(journal, store) == first


def test_views_fit_the_tags_of_older_versions_of_mlflow(journal: Journal) -> None:
    assert all(len(view.value) < 5000 for view in views(described(journal), 0.5))


@pytest.mark.parametrize("arms", [["auto"], ["tpe"]])
def test_one_arm_has_no_chart_of_one_bar(journal: Journal, arms: list[str]) -> None:
    study = described(journal)
    one = {**study.spec, "arms": {arm: study.spec["arms"][arm] for arm in arms}}
    found = views(replace(study, spec=one), 0.0)
    assert ("Trials" in [view.name for view in found]) == (arms == ["tpe"])
    kinds = [chart["type"] for view in found for chart in state(view.value)["compareRunCharts"]]
    assert "BAR" not in kinds


def test_a_description_that_somebody_wrote_stays(journal: Journal, store: Store) -> None:
    journal.begin()
    journal.finish()
    store.write(journal.home, journal.entries)
    experiment = store.client.get_experiment_by_name(journal.home.name).experiment_id
    store.client.set_experiment_tag(experiment, "mlflow.note.content", "my own")
    writer = MlflowWriter(store.uri, journal.home, lambda: True, journal.pack)
    for entry in journal.entries:
        writer.send(entry)
    writer.finish_study({}, RunAnswer({}, {"answer": "It pays."}, ""), {})
    assert writer.close(60) == 0, writer.problem
    assert store.client.get_experiment(experiment).tags["mlflow.note.content"] == "my own"


def test_a_choice_is_an_axis_as_it_stands(journal: Journal) -> None:
    study = described(journal)
    tpe = study.spec["arms"]["tpe"]
    space = {**tpe["search"]["space"], "model.latent": [4, 8]}
    arm = {**tpe, "search": {**tpe["search"], "space": space}}
    found = views(replace(study, spec={**study.spec, "arms": {"tpe": arm}}), 0.0)
    trials = next(state(view.value) for view in found if view.name == "Trials")
    assert trials["compareRunCharts"][0]["selectedParams"] == ["log10 beta", "model.latent"]
