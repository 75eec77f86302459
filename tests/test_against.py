"""Two versions side by side: what is unpacked, run in turn, read and judged."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.against import HERE, Tree, compare, printed, reports, unpacked, verdict


@pytest.fixture
def options(tmp_path: Path) -> argparse.Namespace:
    return argparse.Namespace(scratch=tmp_path, pairs=2, toy=False)


def test_each_side_runs_its_own_files(tmp_path: Path, options: argparse.Namespace) -> None:
    before = unpacked("HEAD", tmp_path / "before")
    code = "import study; print('here', study.__file__)"
    order: list[str] = []

    def case(tree: Tree, folder: Path, options: argparse.Namespace) -> dict[str, float]:
        order.append(tree.name)
        tree.run(folder, "-c", code)
        assert f"here {tree.path / 'study' / '__init__.py'}" in (folder / "log").read_text()
        return {"digits": 1.0 if tree is before else 0.5}

    def alone(tree: Tree, folder: Path, options: argparse.Namespace) -> dict[str, float]:
        order.append("alone")
        return {"digits": 0.25}

    sides = before, Tree("now", HERE)
    (line,) = compare(case, sides, options)
    assert order == ["HEAD", "now", "now", "HEAD"]
    assert line == "| digits | 1.00 | 0.50 | 0.50 | 0.50-0.50 | <= 0.55 met |  |"
    (line,) = compare(case, sides, options, alone)
    assert order[4:] == ["HEAD", "now", "alone", "alone", "now", "HEAD"]
    assert line == "| digits | 1.00 | 0.50 | 0.50 | 0.50-0.50 | <= 0.55 met | 0.25 |"
    assert not [path for path in tmp_path.iterdir() if path.name != "before"]


def test_a_revision_that_is_none_and_a_side_that_fails_end_it(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="not a valid object name"):
        unpacked("no-such-revision", tmp_path)
    with pytest.raises(SystemExit, match=r"(?s)now failed:.*ZeroDivisionError"):
        Tree("now", HERE).run(tmp_path, "-c", "1 / 0")


def test_figures_are_read_from_a_benchmarks_table(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("| seconds | 1,234.5 | 1-2 |\n| MiB at the peak | 447 |  |\n")
    assert printed(tmp_path, "seconds") == 1234.5
    assert printed(tmp_path, "MiB at the peak") == 447
    with pytest.raises(SystemExit, match="no row 'trials/s'"):
        printed(tmp_path, "trials/s")


def test_targets_are_judged_in_their_direction() -> None:
    assert verdict("trials/s", 2.5) == ">= 2.19 met"
    assert verdict("prepare", 0.57) == "<= 0.46 MISSED"
    assert verdict("first step", 0.5) == ""


@pytest.mark.studies
@pytest.mark.slow
def test_the_table_is_printed() -> None:
    command = [sys.executable, "-m", "benchmarks.against", "HEAD", "--toy"]
    only = ["--only", "digits", "memory", "first_step", "resume", "prepare"]
    done = subprocess.run([*command, *only], cwd=HERE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = [line.split(" | ")[0].strip("| ") for line in done.stdout.splitlines()[2:]]
    memory = ["MiB of the driver", "MiB of an engine"]
    assert rows == ["digits", *memory, "first step", "resume", "prepare"]


def test_reports_are_counted_in_every_journal(tmp_path: Path) -> None:
    journal = tmp_path / "studies" / "digits" / "journal"
    os.makedirs(journal)
    assert reports(tmp_path) == 0
    (journal / "000001.log").write_text('1,"report",{}\n2,"report",{}\n')
    assert reports(tmp_path) == 2
