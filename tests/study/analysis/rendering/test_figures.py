from __future__ import annotations

import csv
import io
import json
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import pyarrow as pa
import pytest
import vl_convert
from PIL import Image

import study.analysis.rendering.figures as files
from study.analysis.answers.arms import ArmResult
from study.analysis.answers.break_even import BreakEven, Count
from study.analysis.answers.cost_curves import CostCurve
from study.analysis.answers.rate_distortion import Landing, Plane
from study.analysis.answers.report import build_report
from study.analysis.records.tables import build_tables
from study.analysis.rendering.figures import cost_curves, drawing, learning, rate_distortion
from study.analysis.rendering.figures.catalogue import figures
from study.analysis.rendering.figures.chart import Figure, Heading
from study.analysis.rendering.figures.marks import COLOURS, Looks, bulk, thinned
from study.metrics import CALIBRATED_NEGATIVE_ELBO
from study.statistics.intervals import Interval

LOOKS = Looks(["tpe", "sigma"])
NAMES = ["confirm", "cost_curves", "search", "plane", "learning", "device_seconds"]
NAMES += ["calibration", "variances"]


def drawn(stream: Any, home: Path) -> dict[str, Figure]:
    tables = build_tables(stream.entries)
    return {figure.name: figure for figure in figures(build_report(tables), tables, home)}


def curve(arm: str, value: Sequence[float | None], **more: Any) -> CostCurve:
    n = len(value)
    known: dict[str, Any] = {
        "automatic": False, "estimand": "median", "images": [1000.0 * (i + 1) for i in range(n)],
        "seconds": [None] * n, "lower": [None] * n, "upper": [None] * n, "simultaneous": True,
        "why": "", "expected": [],
    }  # fmt: skip
    return CostCurve(arm=arm, value=value, **known | more)


def drawing_of(figure: Figure) -> bytes:
    """The figure's picture; its chart is valid Vega-Lite."""
    assert figure.chart is not None
    figure.chart.to_dict()
    picture: bytes = vl_convert.vegalite_to_png(figure.picture())
    return picture


def level(images: float | None) -> BreakEven:
    return BreakEven(
        "tpe", "sigma", "calibrated_negative_elbo", Count(2, 1, 3, 4), (images, None, None),
        (None, None, None), Interval(8.5, 8.0, 9.0, 3), 1000.0, (None, None, None), True,
        None, 3, "tpe breaks even at 2 trials",
    )  # fmt: skip


def arms_of(stream: Any) -> Sequence[ArmResult]:
    return build_report(build_tables(stream.entries)).arms


def of(rows: Sequence[Mapping[str, Any]], part: str) -> list[Mapping[str, Any]]:
    return [row for row in rows if row["part"] == part]


def test_a_whole_study_has_all_figures_in_the_order_they_are_read(
    whole: Any, tmp_path: Path
) -> None:
    found = drawn(whole, tmp_path)
    assert list(found) == NAMES
    seeds = [(row["arm"], row["seed"], row["value"]) for row in of(found["confirm"].rows, "seed")]
    assert seeds[:3] == [("tpe", 101, 9.0), ("tpe", 102, 9.2), ("tpe", 103, 9.1)]
    means = {row["arm"]: row["value"] for row in of(found["confirm"].rows, "mean")}
    assert means == pytest.approx({"tpe": 9.1, "sigma": 9.5})
    searched = of(found["search"].rows, "trial")
    trials = [(row["at"], row["value"], row["state"]) for row in searched]
    assert trials == [(0.5, 10.0, "complete"), (1.5, 9.0, "pruned"), (3.5, 8.0, "complete")]
    (end,) = of(found["search"].rows, "end")
    assert (end["arm"], end["at"], end["value"]) == ("sigma", 0.25, 9.0)
    curves = [row for row in found["learning"].rows if row["arm"] == "sigma"]
    assert [(row["images"], row["lowest"], row["highest"], row["runs"]) for row in curves] == [
        (500, 9.9, 10.1, 3),
        (1000, 8.9, 9.1, 3),
    ]
    paid = sum(row["seconds"] for row in found["device_seconds"].rows)
    assert paid == pytest.approx(36.25), "the engines' time"


def test_every_file_of_a_figure_is_in_the_catalogue(whole: Any, tmp_path: Path) -> None:
    modules = (
        import_module(module.name)
        for module in pkgutil.iter_modules(files.__path__, f"{files.__name__}.")
        if module.name.rpartition(".")[2] != "painter"  # a script
    )
    headings = [
        value.name
        for module in modules
        for value in vars(module).values()
        if isinstance(value, Heading)
    ]
    assert sorted(headings) == sorted(NAMES)
    assert set(drawn(whole, tmp_path)) == set(headings)


def test_cost_curves_have_bands_levels_and_break_even(whole: Any) -> None:
    curves = [
        curve("tpe", [None, 9.5, 9.0], lower=[None, 9.0, 8.5], upper=[None, None, 9.5]),
        curve("sigma", [9.5, 9.4], automatic=True, why="too few runs"),
    ]
    arms = arms_of(whole)
    figure = cost_curves.draw(
        curves, [level(2000.0), level(None)], arms, CALIBRATED_NEGATIVE_ELBO, LOOKS
    )
    points = [(row["arm"], row["trials"], row["value"]) for row in of(figure.rows, "curve")]
    assert points == [("tpe", 2, 9.5), ("tpe", 3, 9.0), ("sigma", 1, 9.5), ("sigma", 2, 9.4)]
    assert "upper" not in of(figure.rows, "curve")[0], "an open end is no number"
    (automatic,) = of(figure.rows, "level")
    assert automatic["arm"] == "sigma"
    assert automatic["value"] == pytest.approx(9.5)
    assert automatic["lower"] < 9.5 < automatic["upper"]
    (mark,) = of(figure.rows, "break-even")
    assert (mark["images"], mark["value"], mark["trials"]) == (2000.0, 8.5, 2)
    assert "at all budgets at once" in figure.caption
    assert drawing_of(figure).startswith(b"\x89PNG")
    once = [replace(curves[0], why="once")]
    without = cost_curves.draw(once, [level(None)], arms, CALIBRATED_NEGATIVE_ELBO, LOOKS)
    assert "No band, searched too few times: tpe." in without.caption
    assert "No search reaches an automatic arm's level" in without.caption
    unknown = cost_curves.draw(once, [], arms, CALIBRATED_NEGATIVE_ELBO, LOOKS)
    assert "No search reaches" not in unknown.caption, "it may not have been computed"


def test_a_long_search_is_thinned_and_keeps_its_end(whole: Any) -> None:
    values = [20.0 - i / 1000 for i in range(5000)]
    figure = cost_curves.draw(
        [curve("tpe", values)], [], arms_of(whole), CALIBRATED_NEGATIVE_ELBO, LOOKS
    )
    trials = [row["trials"] for row in of(figure.rows, "curve")]
    assert len(trials) <= 151
    assert trials[-1] == 5000


def test_the_plane_has_sweep_frontier_and_landings() -> None:
    sweep = [(1.0, 9.0, 2.0), (2.0, 9.5, 1.0), (3.0, 5.0, 0.5)]
    landing = Landing("sigma", True, 2.0, 7.0, 0.7, None, None, None, "no frontier there")
    figure = rate_distortion.draw(Plane(sweep, [sweep[0], sweep[2]], [landing]), {}, LOOKS)
    assert [len(of(figure.rows, part)) for part in ("trial", "frontier", "landing")] == [3, 2, 1]
    assert "nats" not in of(figure.rows, "landing")[0]
    assert figure.chart is not None
    assert "rings: " not in figure.caption
    near = [(1.0 + i / 10, 9.0 - i / 10, 1.0) for i in range(20)]
    far = Plane([*near, (120.0, 4.0, 0.001)], [near[0]], [landing])
    assert "rings: 1." in rate_distortion.draw(far, {}, LOOKS).caption
    none = rate_distortion.draw(Plane([], [], [], "nothing has landed"), {}, LOOKS)
    assert (none.chart, none.why) == (None, "nothing has landed")


def test_the_plane_traces_a_training_of_all_betas_by_the_mean_of_its_runs() -> None:
    """In order of beta; of a run that offers other betas, or an arm that did not land, nothing."""

    def run(beta: list[float], rate: list[float], distortion: list[float]) -> dict[str, Any]:
        columns = {"beta": beta, "test_R": rate, "test_S": distortion}
        return {name: np.array(column) for name, column in columns.items()}

    curves = {
        "sigma": [
            run([0.1, 1.0], [9.0, 2.0], [3.0, 7.0]),
            run([0.1, 1.0], [7.0, 4.0], [5.0, 5.0]),
            run([0.2], [1.0], [1.0]),
        ],
        "tpe": [run([0.1], [1.0], [1.0])],
    }
    landing = Landing("sigma", True, 2.0, 7.0, 0.7, None, None, None, "no frontier there")
    figure = rate_distortion.draw(Plane([], [], [landing], "no sweep"), curves, LOOKS)
    assert of(figure.rows, "curve") == [
        {"part": "curve", "arm": "sigma", "beta": 0.1, "rate": 8.0, "distortion": 4.0},
        {"part": "curve", "arm": "sigma", "beta": 1.0, "rate": 3.0, "distortion": 6.0},
    ]
    assert "its one training gives at all betas" in figure.caption
    figure.spec()


def test_learning_curves_of_many_long_runs_stay_small() -> None:
    runs, reports = 40, 1000
    names = [f"t{i}" for i in range(runs)]
    trials = pa.table({
        "trial": names, "arm": ["sigma"] * runs, "phase": ["confirm"] * runs,
        "chosen": [True] * runs, "state": ["complete"] * (runs - 1) + ["failed"],
    })  # fmt: skip
    records = pa.table({
        "trial": [name for name in names for _ in range(reports)],
        "images": list(range(reports)) * runs,
        "validation_calibrated_negative_elbo": [float(i) for i in range(reports)] * runs,
    })  # fmt: skip
    figure = learning.draw({"trials": trials, "records": records}, CALIBRATED_NEGATIVE_ELBO, LOOKS)
    assert len(figure.rows) <= 61
    assert figure.rows[-1]["images"] == 999
    assert {row["runs"] for row in figure.rows} == {39}, "the complete ones"


def test_an_arm_whose_curve_is_not_drawn_is_named() -> None:
    arms = [*(f"sigma-{i}" for i in range(9)), "far"]
    names = [f"t{i}" for i in range(10)]
    trials = pa.table({
        "trial": names, "arm": arms, "phase": ["confirm"] * 10, "chosen": [True] * 10,
        "state": ["complete"] * 10,
    })  # fmt: skip
    records = pa.table({
        "trial": [name for name in names for _ in range(20)],
        "images": list(range(20)) * 10,
        "validation_calibrated_negative_elbo": [
            5000.0 if arm == "far" else 9.0 - n / 20 for arm in arms for n in range(20)
        ],
    })  # fmt: skip
    figure = learning.draw({"trials": trials, "records": records}, CALIBRATED_NEGATIVE_ELBO, LOOKS)
    assert {row["arm"] for row in figure.rows} == {*arms}
    assert "arms, in the data only: far." in figure.caption


def test_an_arm_has_one_colour_in_all_figures(make_stream: Any, arms: Any, tmp_path: Path) -> None:
    names = [f"sigma-{i}" for i in range(9)]
    stream = make_stream({"tpe": arms["hand"], **dict.fromkeys(names, arms["automatic"])})
    stream.search("tpe", [9.0])
    for name in names[1:]:  # the first has no run
        stream.confirm(name, {101: 9.0, 102: 8.0})
    colours: dict[str, set[tuple[str, str]]] = {}

    def look(value: Any) -> None:
        if isinstance(value, dict):
            if value.get("field") == "arm" and (scale := value.get("scale")):
                for arm, style in zip(scale["domain"], scale["range"], strict=True):
                    if style in COLOURS:
                        colours.setdefault(arm, set()).add(style)
            for item in value.values():
                look(item)
        if isinstance(value, list):
            for item in value:
                look(item)

    for figure in drawn(stream, tmp_path).values():
        if figure.chart is not None and figure.name != "device_seconds":
            look({**figure.spec(), "datasets": None})
    assert set(colours) == {"tpe", *names[1:]}
    assert all(len(found) == 1 for found in colours.values())


def test_a_figure_is_written_as_picture_and_table(whole: Any, tmp_path: Path) -> None:
    found = drawn(whole, tmp_path)
    with drawing.writing(list(found.values()), tmp_path):
        pass
    written = {path.stem for path in tmp_path.iterdir()}
    assert written == {name for name in NAMES if found[name].chart is not None}
    assert len(written) > 3
    with Image.open(tmp_path / "confirm.png") as picture:
        assert picture.width > 1.5 * 720
    rows = list(csv.DictReader(io.StringIO((tmp_path / "confirm.csv").read_text())))
    assert [row["seed"] for row in rows if row["arm"] == "tpe"] == ["101", "102", "103", ""]


def test_a_picture_that_cannot_be_written_is_missing_and_the_others_are_there(
    whole: Any, tmp_path: Path
) -> None:
    found = drawn(whole, tmp_path)
    (tmp_path / "confirm.png").mkdir()
    with drawing.writing([found["confirm"], found["search"]], tmp_path) as done:
        pass
    assert list(done.missing) == ["confirm"]
    assert "Is a directory" in done.missing["confirm"]
    assert (tmp_path / "search.png").is_file()
    assert (tmp_path / "confirm.csv").is_file()


def test_a_chart_that_vega_refuses_has_no_picture_not_even_an_earlier_one(
    whole: Any, tmp_path: Path
) -> None:
    found = drawn(whole, tmp_path)
    chart = alt.Chart().mark_point().transform_filter("datum.value ===")
    bad = replace(found["confirm"], chart=alt.LayerChart(layer=[chart]))
    (tmp_path / "confirm.png").write_bytes(b"drawn before")
    with drawing.writing([bad, found["search"]], tmp_path) as done:
        assert not done.missing, "known at the end"
    assert list(done.missing) == ["confirm"]
    assert "Error" in done.missing["confirm"]
    assert len(done.missing["confirm"]) <= 300
    assert [path.name for path in sorted(tmp_path.glob("*.png"))] == ["search.png"]


PAINTERS = {
    "killed at its start": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    "without vl-convert": "import vl_convert_that_is_not_there",
}


@pytest.mark.parametrize("painter", PAINTERS.values(), ids=PAINTERS)
def test_a_painter_that_dies_draws_nothing_and_stops_nothing(
    whole: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, painter: str
) -> None:
    found = drawn(whole, tmp_path)
    script = tmp_path / "painter.py"
    script.write_text(painter)
    monkeypatch.setattr(drawing, "_PAINTER", script)
    large = [replace(figure, rows=[*figure.rows] * 1000) for figure in found.values()]
    with drawing.writing(large, tmp_path) as done:  # more than a pipe holds
        pass
    assert set(done.missing) == {name for name, figure in found.items() if figure.chart is not None}
    assert all("the drawing process ended with status" in why for why in done.missing.values())


def test_what_will_draw_ends_with_its_block(whole: Any, tmp_path: Path) -> None:
    found = drawn(whole, tmp_path)
    with drawing.prepared():
        waiting = list(drawing._waiting)
        with drawing.writing([found["search"]], tmp_path) as done:
            pass
    assert list(done.svg) == ["search"]
    assert len(waiting) > 1, "one draws, another has nothing to draw"
    assert all(process.poll() is not None for process in waiting)


def test_a_figure_that_raises_says_so_and_the_others_stand(
    whole: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Figure:
        raise ZeroDivisionError("no rows to divide by")

    sound = drawn(whole, tmp_path)
    monkeypatch.setattr(learning, "draw", fail)
    found = drawn(whole, tmp_path)
    failed = found.pop("learning")
    assert (failed.title, failed.chart, failed.rows) == (sound.pop("learning").title, None, [])
    assert failed.why == "could not be drawn: ZeroDivisionError: no rows to divide by"
    for name, figure in found.items():
        assert (figure.chart is None) == (sound[name].chart is None)
        assert figure.rows == sound[name].rows


def test_a_chart_that_altair_refuses_says_so(
    whole: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any) -> Figure:
        return learning.HEADING.figure("", alt.LayerChart(layer=[object()]), [])

    monkeypatch.setattr(learning, "draw", refused)
    failed = drawn(whole, tmp_path)["learning"]
    assert failed.chart is None
    assert failed.why.startswith("could not be drawn: ")


def test_the_same_records_give_the_same_figures(whole: Any, tmp_path: Path) -> None:
    first, second = drawn(whole, tmp_path), drawn(whole, tmp_path)
    for name, figure in first.items():
        if figure.chart is not None:
            assert json.dumps(figure.spec()) == json.dumps(second[name].spec())
    assert drawing_of(first["confirm"]) == drawing_of(second["confirm"])


def degenerate(make_stream: Any, arms: Any) -> dict[str, Any]:
    nothing, asked, one, failed = (make_stream() for _ in range(4))
    asked.ask("tpe", "search", 0, 1, {"beta": 1.0})
    one.search("tpe", [9.0])
    one.confirm("tpe", {101: 9.0}, chosen_from=0)
    one.confirm("sigma", {101: 9.0})
    failed.search("tpe", [None, None])
    failed.confirm("sigma", {101: None})
    automatic = make_stream({"sigma": arms["automatic"]})
    automatic.confirm("sigma", {101: 9.0, 102: 9.0})
    return {"nothing": nothing, "asked": asked, "one seed": one, "failed": failed,
            "no hand": automatic}  # fmt: skip


@pytest.mark.parametrize("which", ["nothing", "asked", "one seed", "failed", "no hand"])
def test_studies_with_few_results(make_stream: Any, arms: Any, tmp_path: Path, which: str) -> None:
    found = drawn(degenerate(make_stream, arms)[which], tmp_path)
    assert list(found) == NAMES
    for figure in found.values():
        if figure.chart is None:
            assert figure.why
        else:
            json.dumps(figure.spec(), allow_nan=False)
            assert drawing_of(figure).startswith(b"\x89PNG")
    has_confirmed = found["confirm"].chart is not None
    assert has_confirmed == (which in ("one seed", "no hand"))


def test_the_bulk_leaves_out_what_is_far_off() -> None:
    low, high = bulk([1.0, 2.0, 3.0, 4.0, 1000.0])
    assert low < 1.0
    assert 4.0 < high < 5.0
    low, high = bulk([2.0])
    assert low < 2.0 < high
    low, high = bulk([0.0])
    assert low < 0.0 < high


def test_thinned_places_are_few_and_end_at_the_last() -> None:
    assert thinned(3, 60) == [0, 1, 2]
    assert thinned(0, 60) == []
    assert thinned(1, 60) == [0]
    places = thinned(1000, 60)
    assert (len(places), places[-1]) == (60, 999)
