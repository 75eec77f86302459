"""Tables of calibration that trials left, good and bad, and the figures that are made of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import vl_convert

from study.analysis.records.artifacts import standing_tables
from study.analysis.records.tables import build_tables
from study.analysis.rendering.figures.calibration import quantiles, variances
from study.analysis.rendering.figures.chart import Figure
from study.analysis.rendering.figures.marks import Looks
from study.journal.events import TrialEnded

QUANTILES, VARIANCES = "calibration_quantiles", "calibration_variances"
LEVELS = ("expected", "observed")

Table = Mapping[str, Sequence[float]]


class Study:
    """A study in a folder of its own, whose confirm runs leave tables behind."""

    def __init__(self, home: Path, stream: Any) -> None:
        self.home, self.stream = home, stream
        home.mkdir()

    def confirm(self, arm: str, number: int, chosen_from: int | None = None, **files: str) -> Path:
        """A complete confirm run with artifacts of this content, and its folder."""
        trial = self.stream.ask(arm, "confirm", number, 101 + number, {}, 0, chosen_from)
        folder = self.home / "trials" / trial
        folder.mkdir(parents=True)
        artifacts = {}
        for name, content in files.items():
            path = folder / f"{name}.csv"
            path.write_text(content)
            artifacts[name] = str(path.relative_to(self.home))
        self.end(trial, artifacts)
        return folder

    def end(self, trial: str, artifacts: Mapping[str, str]) -> None:
        self.stream.begin(trial)
        self.stream.report(trial, 1, 9.0)
        self.stream.emit(TrialEnded(trial, "complete", 1, 9.0, artifacts=dict(artifacts)))

    @property
    def trials(self) -> pa.Table:
        return build_tables(self.stream.entries)["trials"]

    def levels(self) -> dict[str, list[dict[str, list[float]]]]:
        found = standing_tables(self.trials, self.home, QUANTILES, LEVELS)
        return {
            arm: [{key: column.tolist() for key, column in table.items()} for table in tables]
            for arm, tables in found.items()
        }

    def figures(self) -> tuple[Figure, Figure]:
        looks = Looks(["tpe", "sigma"])
        return tuple(draw(self.trials, self.home, looks) for draw in (quantiles, variances))

    @property
    def gaps(self) -> list[float]:
        """Of the one arm that has any."""
        return [row["gap"] for row in self.figures()[0].rows]


@pytest.fixture
def study(tmp_path: Path, make_stream: Callable[..., Any]) -> Study:
    return Study(tmp_path / "study", make_stream())


def text(table: Table) -> str:
    rows = zip(*table.values(), strict=True)
    return "\n".join([",".join(table), *(",".join(map(repr, row)) for row in rows), ""])


GOOD: Table = {"expected": [0.25, 0.5, 0.75], "observed": [0.25, 0.625, 0.75]}
OTHER: Table = {"expected": [0.25, 0.5, 0.75], "observed": [0.5, 0.875, 0.75]}
SPREAD: Table = {"predicted": [0.01, 0.1], "observed": [0.02, 0.1], "count": [10, 10]}


def test_tables_of_standing_confirm_runs_by_arm(study: Study) -> None:
    study.stream.search("tpe", [9.0, 8.0])
    study.confirm("tpe", 0, chosen_from=1, calibration_quantiles=text(GOOD))
    study.confirm("tpe", 0, chosen_from=0, calibration_quantiles=text(OTHER))  # not what it chose
    study.confirm("sigma", 0, calibration_quantiles=text(GOOD), calibration_variances=text(SPREAD))
    study.confirm("sigma", 1, calibration_quantiles=text(OTHER))
    assert study.levels() == {"tpe": [GOOD], "sigma": [GOOD, OTHER]}
    found = standing_tables(study.trials, study.home, VARIANCES, ("predicted", "observed"))
    assert {arm: len(tables) for arm, tables in found.items()} == {"sigma": 1}
    np.testing.assert_array_equal(found["sigma"][0]["predicted"], [0.01, 0.1])
    assert set(found["sigma"][0]) == {"predicted", "observed"}


def test_the_figures_show_the_mean_gap_and_each_run_s_variances(study: Study) -> None:
    study.confirm("sigma", 0, calibration_quantiles=text(GOOD), calibration_variances=text(SPREAD))
    study.confirm("sigma", 1, calibration_quantiles=text(OTHER), calibration_variances=text(SPREAD))
    levels, spreads = study.figures()
    assert {row["arm"] for row in levels.rows} == {"sigma"}
    np.testing.assert_allclose([row["level"] for row in levels.rows], [0.25, 0.5, 0.75])
    np.testing.assert_allclose([row["gap"] for row in levels.rows], [0.125, 0.25, 0.0])
    points = [(row["run"], row["predicted"], row["observed"]) for row in spreads.rows]
    assert points == [(0, 0.01, 0.02), (0, 0.1, 0.1), (1, 0.01, 0.02), (1, 0.1, 0.1)]
    for figure in (levels, spreads):
        assert figure.chart is not None
        assert figure.chart.to_dict(), "valid Vega-Lite"
        svg = vl_convert.vegalite_to_svg(figure.picture())
        assert svg.count('stroke-opacity="0.5"') == 1, "one rule of reference, not one a row"


def test_where_there_is_nothing_no_figure_is_made(study: Study) -> None:
    study.stream.search("tpe", [9.0])
    study.confirm("tpe", 0, chosen_from=0)
    for figure in study.figures():
        assert figure.chart is None
        assert "no confirm run has a table" in figure.why


def test_variances_of_zero_have_no_place_on_a_logarithmic_axis(study: Study) -> None:
    spread = {"predicted": [0.0, 0.1], "observed": [0.02, 0.1]}
    study.confirm("sigma", 0, calibration_variances=text(spread))
    figure = study.figures()[1]
    assert [row["predicted"] for row in figure.rows] == [0.1]
    assert "which have no place on these axes: 1." in figure.caption


BAD = {
    "empty": "",
    "no rows": "expected,observed\n",
    "a column missing": "expected\n0.5\n",
    "cut inside a line": "expected,observed\n0.25,0.25\n0.5",
    "no number": "expected,observed\n0.5,much\n",
    "not a number": "expected,observed\n0.5,nan\n",
    "infinite": "expected,observed\n0.5,inf\n",
    "no table": "\0\1\2",
    "one field without an end": "expected,observed\n" + "1" * 200_000 + ",0.5\n",
}


@pytest.mark.parametrize("content", BAD.values(), ids=BAD)
def test_a_damaged_table_is_passed_over(study: Study, content: str) -> None:
    study.confirm("sigma", 0, calibration_quantiles=content)
    assert study.levels() == {}
    study.confirm("sigma", 1, calibration_quantiles=text(GOOD))
    assert study.levels() == {"sigma": [GOOD]}


def test_bytes_that_are_no_text_are_passed_over(study: Study) -> None:
    folder = study.confirm("sigma", 0, calibration_quantiles="")
    (folder / f"{QUANTILES}.csv").write_bytes(b"expected,observed\n\xff\xfe,1\n")
    assert study.levels() == {}


@pytest.mark.parametrize("cut", [0, 1])
def test_a_table_cut_at_a_line_s_end_does_not_stop_the_figure(study: Study, cut: int) -> None:
    """It reads as a table, of fewer levels: it is not averaged with the others."""
    for number in range(2):
        content = "expected,observed\n0.25,0.9\n" if number == cut else text(GOOD)
        study.confirm("sigma", number, calibration_quantiles=content)
    np.testing.assert_allclose(study.gaps, [0.0, 0.125, 0.0])


@pytest.mark.parametrize("how", ["absolute", "upwards", "by a link"])
def test_files_outside_the_study_are_not_read(study: Study, tmp_path: Path, how: str) -> None:
    """A journal may come from elsewhere."""
    outside = tmp_path / "outside.csv"
    outside.write_text(text(GOOD))
    path = {"absolute": str(outside), "upwards": "trials/../../outside.csv", "by a link": "link"}
    os.symlink(outside, study.home / "link")
    study.end(study.stream.ask("sigma", "confirm", 0, 101, {}), {QUANTILES: path[how]})
    assert study.levels() == {}


def test_a_file_that_is_gone_or_a_folder_is_passed_over(study: Study) -> None:
    for number, path in enumerate(("trials/gone.csv", ".", "")):
        name = study.stream.ask("sigma", "confirm", number, number, {})
        study.end(name, {QUANTILES: path})
    assert study.levels() == {}
