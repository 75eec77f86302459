"""A report is written whole, even where a picture of it cannot be."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import threading
import time
from html import unescape
from pathlib import Path

import pytest

from study.journal import StudyHome, read_entries
from study.managing import report
from study.managing.report import write_report

RECORDED = Path(__file__).parents[1] / "journal" / "format1" / "finished"


def test_a_picture_that_cannot_be_written_is_said_on_the_page_and_all_else_is_there(
    tmp_path: Path,
) -> None:
    home = StudyHome(tmp_path, "format1")
    shutil.copytree(RECORDED, home.path)
    (home.figures / "search.png").mkdir(parents=True)
    made = write_report(read_entries(home.path), home)
    page = home.page.read_text()
    assert page.count("Its picture in the folder figures is missing: IsADirectoryError") == 1
    said = unescape(re.sub(r"<[^>]*>", "", page))  # without the links to its glossary
    assert made.verdict[0] in said
    assert (home.report / "report.txt").read_text().startswith("format1: ")
    pictures = {path.stem for path in home.figures.glob("*.png") if path.is_file()}
    tables = {path.stem for path in home.figures.glob("*.csv")}
    assert tables - pictures == {"search"}
    assert len(pictures) > 3


def test_a_report_that_cannot_be_saved_is_printed_and_the_study_is_as_it_was(
    told: StudyHome, tmp_path: Path
) -> None:
    home = StudyHome(tmp_path / "studies", told.name)
    shutil.copytree(told.path, home.path)
    before = {file: file.read_bytes() for file in home.path.rglob("*") if file.is_file()}
    command = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)); {REPORT}"
    done = subprocess.run(
        [sys.executable, "-c", command, "report", told.name, "--home", str(home.studies)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "calibrated negative ELBO (nats per image, lower is better) on test" in done.stdout
    assert f"error: {home.path}: the report could not be saved: File too large" in done.stderr
    assert f"`study report told --home {home.studies}` then saves it" in done.stderr
    assert "Traceback" not in done.stderr
    assert {f: f.read_bytes() for f in home.path.rglob("*") if f.is_file()} == before


REPORT = "from study.cli import main; main()"


def test_two_reports_of_a_study_are_written_one_after_the_other_unless_one_is_frozen(
    told: StudyHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    both = threading.Barrier(2)

    def written(*given: object) -> None:
        events.append("begins")
        time.sleep(0.3)
        events.append("ends")

    def write() -> None:
        both.wait()
        write_report([], told)

    monkeypatch.setattr(report, "_written", written)
    for patience, expected in ((60, ["begins", "ends"] * 2), (0, ["begins"] * 2 + ["ends"] * 2)):
        monkeypatch.setattr(report, "PATIENCE", patience)
        events.clear()
        writers = [threading.Thread(target=write) for _ in range(2)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        assert events == expected
