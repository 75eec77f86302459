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
from study.tracking.changes import PRUNED_AT, created_tag, milliseconds

TAG = "mlflow.sharedViewState."
"""What the names of an experiment's tags that are saved views begin with; the key follows."""

MODES = {"Arms": "TABLE", "Trials": "CHART", "Confirm runs": "CHART", "Live": "CHART"}
"""By view, in MLflow's order, what its address opens: the list of runs, or their charts."""
_OTHERS = ("answer", "train", "validation", "test", "Model metrics", "System metrics")
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
    test, charts = f"answer/test_{study.spec['objective']}_mean", []
    if len(study.spec["arms"]) > 1:
        # No break-even: where one search of several has one, it would be a chart of one bar.
        charts = [
            _bar(test),
            _bar("answer/cost_ratio"),
            _scatter("METRIC", "answer/cost_images", test),
        ]
    return _state(
        "tags.`study.kind` = 'arm'",
        f"metrics.`{test}`",
        [
            ("tags", "kind", 90),
            ("tags", "score", 190),
            ("tags", "cost", 60),
            ("tags", "setting", 130),
            ("tags", "break_even", 330),
        ],
        {"Score and cost": charts},
    )


def _trials(study: StudyDescribed) -> dict[str, Any] | None:
    spaces = _spaces(study)
    if not spaces:
        return None
    arm = ["arm"] if len(study.spec["arms"]) > 1 else []
    searched = list(dict.fromkeys(name for space in spaces for name in space))
    return _state(
        "tags.`study.phase` = 'search'",
        "metrics.`objective`",
        [
            ("metrics", "objective", 120),
            ("params", "arm", 140),
            *(("params", name.removeprefix(_LOG), 120) for name in searched),
            ("tags", "reason", 200),
        ],
        {
            "Complete trials": [
                *(_parallel([*arm, *space], "objective") for space in spaces),
                *(_scatter("PARAM", name, "objective") for name in searched),
            ],
            "Pruned trials": [_parallel([*arm, *space], PRUNED_AT) for space in spaces],
        },
        group=["state"],
        averaged=False,
    )


def _confirm_runs(study: StudyDescribed) -> dict[str, Any]:
    test = f"test/{study.spec['objective']}"
    bars = [_bar(test)] if len(study.spec["arms"]) > 1 else []
    return _state(
        "tags.`study.phase` = 'confirm'",
        f"metrics.`{test}`",
        [
            ("metrics", test, 240),
            ("metrics", "objective", 120),
            ("metrics", "test/bits_per_dim", 150),
            ("metrics", "test/active_units", 150),
        ],
        {"Means over seeds": [*bars, _line(f"validation/{study.spec['objective']}")]},
        # Stages apart: an arm's score is of one of them.
        group=["study.arm", *(["stage"] if study.design == "two_stages" else [])],
    )


def _live(study: StudyDescribed) -> dict[str, Any]:
    curve = f"validation/{study.spec['objective']}"
    return _state(
        "tags.`study.kind` = 'trial'",
        # What runs is first. By time, MLflow would put trials under their arms, out of sight.
        "tags.`state`",
        [
            ("metrics", curve, 240),
            ("metrics", "images", 120),
            ("metrics", "device_seconds", 120),
            ("params", "arm", 140),
            ("tags", "state", 100),
        ],
        {"Running trials": [_line(curve), _line("train/loss")]},
        ascending=False,
        visible="HIDE_FINISHED_RUNS",
    )


def _spaces(study: StudyDescribed) -> list[tuple[str, ...]]:
    """The params that are searched together, each once; see :func:`axis`."""
    searches = (arm.get("search") for arm in study.spec["arms"].values())
    spaces = (each["space"].items() for each in searches if each)
    return list(dict.fromkeys(tuple(axis(name, of) for name, of in space) for space in spaces))


def axis(name: str, distribution: Mapping[str, Any] | Sequence[Any]) -> str:
    """The param that shows a searched setting in charts: MLflow's axes of params are linear.

    A choice, which a spec writes as a list, is drawn on none.
    """
    logarithmic = isinstance(distribution, Mapping) and distribution.get("log")
    return f"{_LOG}{name}" if logarithmic else name


def _state(
    runs: str,
    order: str,
    columns: Sequence[Column],
    sections: Mapping[str, Sequence[Chart]],
    *,
    ascending: bool = True,
    group: Sequence[str] = (),
    averaged: bool = True,
    visible: str = "SHOW_ALL",
) -> dict[str, Any]:
    """The state of MLflow's page of runs.

    Args:
        runs: The filter of the list.
        order: What the list is sorted by.
        columns: Of the list, after the names.
        sections: Of charts, by heading. A chart's own heading is the name of its metric, and takes
            a tile of the whole width.
        ascending: Whether the lowest is first.
        group: The tags by which runs are grouped.
        averaged: Whether charts show a group's mean, and not its runs.
        visible: Which of the listed runs the charts show.
    """
    selected = {f"{kind}.`{name}`": width for kind, name, width in columns}
    widths = {"attributes.`Run Name`": 240, "runDateAndNestInfo": 120, **selected}
    placed = [(name, chart) for name, charts in sections.items() for chart in charts]
    keys = [{"mode": "tag", "groupByData": tag} for tag in group]
    return {
        "searchFilter": runs,
        "orderByKey": order,
        "orderByAsc": ascending,
        "selectedColumns": list(selected),
        "columnOrder": list(widths),
        "columnWidths": widths,
        "runsHiddenMode": visible,
        "compareRunCharts": [
            {
                **{"uuid": str(number), "metricSectionId": name, "runsCountToCompare": 100},
                **{"deleted": False, "isGenerated": False, **chart},
            }
            for number, (name, chart) in enumerate(placed)
        ],
        "compareRunSections": [
            {
                **{"uuid": name, "name": name, "display": name in sections, "columns": 1},
                **{"isReordered": False, "deleted": False, "isGenerated": False},
            }
            for name in (*sections, *_OTHERS)
        ],
        "isAccordionReordered": True,
        "groupBy": {"aggregateFunction": "average", "groupByKeys": keys} if keys else None,
        "useGroupedValuesInCharts": averaged,
    }


def _bar(key: str) -> Chart:
    return {"type": "BAR", "metricKey": key}


def _line(key: str) -> Chart:
    return {
        "type": "LINE",
        "metricKey": key,
        "lineSmoothness": 0,
        "scaleType": "linear",
        "xAxisKey": "step",
        "xAxisScaleType": "linear",
        "useGlobalXaxisKey": True,
        "range": {},
    }


def _scatter(kind: str, x: str, y: str) -> Chart:
    return {
        "type": "SCATTER",
        "xaxis": {"key": x, "type": kind},
        "yaxis": {"key": y, "type": "METRIC"},
    }


def _parallel(params: Sequence[str], score: str) -> Chart:
    return {
        "type": "PARALLEL",
        "selectedParams": list(params),
        "selectedMetrics": [score],
        "showAllRuns": True,
    }
