"""The saved views of a study in MLflow's pages.

MLflow 3.17 keeps a saved view as a tag of the experiment: its name, times, and the state of the
page of runs as compressed JSON. One without saved views ignores the tags, and their addresses show
the plain list of runs.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from study.journal.events import StudyDescribed
from study.metrics import metric
from study.tracking.changes import PRUNED_AT, created_tag, milliseconds

TAG = "mlflow.sharedViewState."
"""What the names of an experiment's tags that are saved views begin with; the key follows."""

MODES = {"Arms": "TABLE", "Trials": "CHART", "Confirm runs": "CHART", "Live": "CHART"}
"""By view, in MLflow's order, what its address opens: the list of runs, or their charts."""
_OTHERS = ("answer", "live", "train", "validation", "test", "Model metrics", "System metrics")
"""Sections of MLflow's own charts, one a metric that no chart of the view shows; closed."""

_LOG = "log10 "

Column = tuple[str, str, int]
"""``metrics``, ``params`` or ``tags``; the name; the width in pixels."""
Chart = dict[str, Any]


class View(NamedTuple):
    """A saved view.

    Attributes:
        name: In MLflow's list of views.
        key: In its address, and in the name of its tag.
        value: Of its tag.
    """

    name: str
    key: str
    value: str


def views(study: StudyDescribed, created: float) -> list[View]:
    """The views of a study: the same whenever they are made from the same description.

    Args:
        study: Its latest description.
        created: When its first one was written, in seconds since the epoch.
    """
    made = zip(MODES, (_arms, _trials, _confirm_runs, _live), strict=True)
    found = []
    for place, (name, make) in enumerate(made):
        state = make(study)
        if state is None:
            continue
        mine = f"tags.`study.created` = '{created_tag(created)}' AND {state['searchFilter']}"
        packed = json.dumps({**state, "searchFilter": mine}, separators=(",", ":")).encode()
        time = milliseconds(created) - place  # MLflow lists the latest first
        value = {
            "name": name,
            "createdAt": time,
            "updatedAt": time,
            "state": f"deflate;{base64.b64encode(zlib.compress(packed, 9)).decode()}",
        }
        found.append(View(name, view_key(name, created_tag(created)), json.dumps(value)))
    return found


def view_key(name: str, created: str) -> str:
    """The key of the view ``name`` of the study with the tag ``created``."""
    return f"{name.lower().replace(' ', '-')}-{created}"


def _arms(study: StudyDescribed) -> dict[str, Any]:
    score, arms = metric(study.spec["objective"]), study.spec["arms"]
    test, section = f"answer/test_{score.name}_mean", "arms"
    charts = []
    if len(arms) > 1:
        charts = [
            _bar(section, f"{score.label} on test, {score.unit}", test),
            _bar(section, "Images of one model, as a multiple", "answer/cost_ratio"),
            _scatter(section, "Score on test against images", "answer/cost_images", test),
        ]
    if sum(bool(arm.get("search")) for arm in arms.values()) > 1:
        charts.append(_bar(section, "Break-even, trials", "answer/break_even_trials"))
    return _state(
        "tags.`study.kind` = 'arm'",
        test,
        [
            ("tags", "kind", 90),
            ("tags", "score", 200),
            ("tags", "cost", 70),
            ("tags", "break_even", 330),
            ("tags", "setting", 180),
        ],
        {section: "The arms: what a model scores and costs"},
        charts,
    )


def _trials(study: StudyDescribed) -> dict[str, Any] | None:
    if not _spaces(study):
        return None
    score = metric(study.spec["objective"])
    complete, pruned = "complete", "pruned"
    charts = []
    spaces = _spaces(study)
    arm = ["arm"] if len(study.spec["arms"]) > 1 else []
    for space in spaces:
        of = ", ".join(space)
        charts += [
            _parallel(complete, f"{of}: {score.label} on validation", [*arm, *space], "objective"),
            _parallel(pruned, f"{of}: last value before pruning", [*arm, *space], PRUNED_AT),
        ]
    searched = list(dict.fromkeys(name for space in spaces for name in space))
    charts += [
        _scatter(complete, f"{score.label} against {name}", name, "objective", "PARAM")
        for name in searched
    ]
    return _state(
        "tags.`study.phase` = 'search'",
        "objective",
        [
            ("metrics", "objective", 120),
            ("params", "arm", 140),
            *(("params", name.removeprefix(_LOG), 120) for name in searched),
            ("tags", "reason", 200),
        ],
        {complete: "Complete trials", pruned: "Pruned trials"},
        charts,
        group="state",
        averaged=False,
        wide=True,
    )


def _confirm_runs(study: StudyDescribed) -> dict[str, Any]:
    score, section = metric(study.spec["objective"]), "seeds"
    test = f"test/{score.name}"
    charts = [_line(section, f"{score.label} on validation, by report", f"validation/{score.name}")]
    if len(study.spec["arms"]) > 1:
        charts.insert(0, _bar(section, f"{score.label} on test, mean over seeds", test))
    return _state(
        "tags.`study.phase` = 'confirm'",
        test,
        [
            ("metrics", test, 240),
            ("metrics", "objective", 120),
            ("metrics", "test/bits_per_dim", 150),
            ("metrics", "test/active_units", 150),
        ],
        {section: "The arms' chosen settings, averaged over seeds"},
        charts,
        group="study.arm",
    )


def _live(study: StudyDescribed) -> dict[str, Any]:
    score, section = metric(study.spec["objective"]), "running"
    curve = f"validation/{score.name}"
    return _state(
        "tags.`study.kind` = 'trial'",
        "",
        [
            ("metrics", curve, 240),
            ("metrics", "images", 120),
            ("metrics", "device_seconds", 120),
            ("params", "arm", 140),
            ("tags", "state", 100),
        ],
        {section: "The trials that run now"},
        [
            _line(section, f"{score.label} on validation, by report", curve),
            _line(section, "Training loss, by report", "train/loss"),
        ],
        visible="HIDE_FINISHED_RUNS",
    )


def _spaces(study: StudyDescribed) -> list[tuple[str, ...]]:
    """The params that are searched together, each once; see :func:`axis`."""
    searches = (arm.get("search") for arm in study.spec["arms"].values())
    spaces = (each["space"].items() for each in searches if each)
    return list(dict.fromkeys(tuple(axis(name, of) for name, of in space) for space in spaces))


def axis(name: str, distribution: Mapping[str, Any]) -> str:
    """The param that shows a searched setting in charts: MLflow's axes of params are linear."""
    return f"{_LOG}{name}" if distribution.get("log") else name


def _state(
    runs: str,
    order: str,
    columns: Sequence[Column],
    sections: dict[str, str],
    charts: Sequence[Chart],
    *,
    group: str = "",
    averaged: bool = True,
    wide: bool = False,
    visible: str = "SHOW_ALL",
) -> dict[str, Any]:
    """The state of MLflow's page of runs.

    Args:
        runs: The filter of the list.
        order: The metric the list is sorted by, lowest first; "": the latest run first.
        columns: Of the list, after the names.
        sections: Those of the charts, by id, with their headings.
        charts: In them.
        group: The tag by which runs are grouped.
        averaged: Whether charts show a group's mean, and not its runs.
        wide: Whether a chart takes the whole width, and not half of it.
        visible: Which of the listed runs the charts show.
    """
    ids = {f"{kind}.`{name}`": width for kind, name, width in columns}
    widths = {"attributes.`Run Name`": 240, "runDateAndNestInfo": 120, **ids}
    shown = [
        {"uuid": key, "name": name, "display": True, "columns": 1 if wide else 2}
        for key, name in sections.items()
    ]
    closed = [{"uuid": name, "name": name, "display": False} for name in _OTHERS]
    by = {"aggregateFunction": "average", "groupByKeys": [{"mode": "tag", "groupByData": group}]}
    return {
        "searchFilter": runs,
        "orderByKey": f"metrics.`{order}`" if order else "attributes.start_time",
        "orderByAsc": bool(order),
        "selectedColumns": list(ids),
        "columnOrder": list(widths),
        "columnWidths": widths,
        "runsHiddenMode": visible,
        "compareRunCharts": [
            {
                "uuid": f"{number}",
                "runsCountToCompare": 100,
                "deleted": False,
                "isGenerated": False,
                **chart,
            }
            for number, chart in enumerate(charts)
        ],
        "compareRunSections": [
            {**section, "isReordered": False, "deleted": False, "isGenerated": False}
            for section in (*shown, *closed)
        ],
        "isAccordionReordered": True,
        "groupBy": by if group else None,
        "useGroupedValuesInCharts": averaged,
    }


def _bar(section: str, name: str, key: str) -> Chart:
    return {"type": "BAR", "metricSectionId": section, "displayName": name, "metricKey": key}


def _line(section: str, name: str, key: str) -> Chart:
    return {
        "type": "LINE",
        "metricSectionId": section,
        "displayName": name,
        "metricKey": key,
        "lineSmoothness": 0,
        "scaleType": "linear",
        "xAxisKey": "step",
        "xAxisScaleType": "linear",
        "useGlobalXaxisKey": True,
        "range": {},
    }


def _scatter(section: str, name: str, x: str, y: str, kind: str = "METRIC") -> Chart:
    return {
        "type": "SCATTER",
        "metricSectionId": section,
        "displayName": name,
        "xaxis": {"key": x, "type": kind},
        "yaxis": {"key": y, "type": "METRIC"},
    }


def _parallel(section: str, name: str, params: Sequence[str], score: str) -> Chart:
    return {
        "type": "PARALLEL",
        "metricSectionId": section,
        "displayName": name,
        "selectedParams": list(params),
        "selectedMetrics": [score],
        "showAllRuns": True,
    }
