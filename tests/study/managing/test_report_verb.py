"""A report is written whole, even where a picture of it cannot be."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import threading
from html import unescape
from pathlib import Path
from typing import BinaryIO

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
    begun, asked, thaw = threading.Event(), threading.Event(), threading.Event()
    is_locked = report._is_locked

    def locked(lock: BinaryIO) -> bool:
        free = is_locked(lock)
        if not free:
            asked.set()
        return free

    def written(*given: object) -> None:
        first = not begun.is_set()
        events.append("begins")
        begun.set()
        assert not first or thaw.wait(60)
        events.append("ends")

    monkeypatch.setattr(report, "_written", written)
    monkeypatch.setattr(report, "_is_locked", locked)
    for patience, expected in (
        (60, ["begins", "ends", "begins", "ends"]),
        (0, ["begins", "begins", "ends", "ends"]),
    ):
        monkeypatch.setattr(report, "PATIENCE", patience)
        for event in (begun, asked, thaw):
            event.clear()
        events.clear()
        writers = [threading.Thread(target=write_report, args=([], told)) for _ in range(2)]
        writers[0].start()
        assert begun.wait(60)
        writers[1].start()
        assert asked.wait(60)
        if not patience:
            writers[1].join()
        thaw.set()
        for writer in writers:
            writer.join()
        assert events == expected
