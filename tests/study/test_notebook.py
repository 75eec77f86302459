"""A report in a notebook, and the worked notebook, run by a kernel of its own."""

from __future__ import annotations

from html import unescape
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

import study
from study.journal import read_entries
from study.managing.report import write_report

NOTEBOOK = Path(__file__).parent.parent.parent / "docs" / "notebook.ipynb"


@pytest.fixture
def quickstart(tell: Any, told_spec: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a finished study of that name."""
    home = tell({**told_spec.to_dict(), "name": "quickstart"}, tmp_path)
    monkeypatch.setenv("STUDY_HOME", str(home.studies))
    return tmp_path


def outputs(cell: Any) -> str:
    return "\n".join(
        str(output.get("text") or output["data"].get("text/html") or output["data"]["text/plain"])
        for output in cell.outputs
    )


@pytest.mark.studies  # a kernel that draws all figures
def test_the_worked_notebook_runs_and_shows_what_it_says(quickstart: Path) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    broken = nbformat.v4.new_code_cell('study.report("quickstrat")')
    broken.metadata["tags"] = ["raises-exception"]
    notebook.cells.append(broken)
    NotebookClient(notebook, kernel_name="python3", timeout=120).execute()
    names, shown, sentence, arms, chart, best, _, error = (
        outputs(cell) for cell in notebook.cells if cell.cell_type == "code" and cell is not broken
    )
    assert "quickstart" in names
    first = study.report("quickstart").first_screen
    assert first.outcome.capitalize() in shown
    assert shown.count("<svg") == 1, "the arms"
    said = unescape(shown)
    assert [number.words for number in first.numbers if number.words not in said] == []
    assert first.sentence.partition(":")[0] in sentence
    assert "optimal" in arms
    assert "vega" in chart.lower()
    assert "params_beta" in best
    assert "did you mean 'quickstart'?" in error
    (failure,) = broken.outputs
    assert len(failure["traceback"]) == 1, "its message, and no stack"
    assert "did you mean 'quickstart'?" in failure["traceback"][0]


def test_tables_are_frames_of_numbers(told: Any) -> None:
    report = study.report("told", home=told.studies)
    arms = report.table("arms")
    assert list(arms["arm"]) == ["random", "optimal"]
    assert arms["n"].dtype.kind in "if"
    assert {"arms", "comparisons", "images_by_use"} <= set(report.tables())
    with pytest.raises(study.UserError, match="no table 'arm'") as caught:
        report.table("arm")
    assert "arms" in caught.value.remedy


def test_figures_are_charts_with_their_data(told: Any) -> None:
    charts = study.report("told", home=told.studies).figures()
    spec = charts["search"].to_dict()
    assert spec["datasets"]["rows"]
    assert "calibration" not in charts, "there is nothing to show"


def test_a_report_that_could_not_be_drawn_shows_its_numbers(told: Any) -> None:
    report = write_report(read_entries(told.path), told)
    report.__dict__["_picture"] = ""
    html = report._repr_html_()
    assert "<svg" not in html
    assert report.first_screen.cost.words in html


PROGRESS = """
import time
from types import SimpleNamespace
from study.launching.progress import Progress
from study.search.arm_progress import ArmProgress

ended = [0]

def arm_progress():
    counts = {"ended": ended[0], "running": 1, "planned": 9, "work": ended[0]}
    return [ArmProgress("tpe", best=-20.5, setting="beta=0.1", phase="search", **counts)]

conductor = SimpleNamespace(arm_progress=arm_progress)
spec = SimpleNamespace(name="mine", arms=["tpe"], objective="bits_per_dim")
with Progress(conductor, spec) as progress:
    progress.begin()
    time.sleep(1.5)
    ended[0] = 7
"""


def test_progress_is_one_output_that_is_updated() -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(PROGRESS)])
    NotebookClient(notebook, kernel_name="python3", timeout=120).execute()
    # A library that is imported may warn that there are no widgets: a stream of its own.
    (only,) = [o for o in notebook.cells[0].outputs if o.output_type == "display_data"]
    assert "7 of 9 trials ended, 1 running" in only["data"]["text/plain"]
