"""The guide to a question of one's own, run on a study."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from study.analysis.records.tables import build_tables, write_records
from study.journal import StudyHome, read_entries

GUIDE = Path(__file__).parents[2] / "docs" / "own_question.md"


@pytest.fixture(scope="module")
def answer(told: StudyHome, tmp_path_factory: pytest.TempPathFactory) -> list[list[str]]:
    """What the guide's script prints of the made-up study, as words a line."""
    home = tmp_path_factory.mktemp("tables")
    write_records(build_tables(read_entries(told.path)), home)
    (script,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", script, str(home)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return [line.split() for line in done.stdout.splitlines()]


def test_the_goal_is_a_nat_above_the_best_arms_mean(answer: list[list[str]]) -> None:
    assert answer[0][-2:] == ["<=", "11.50"]  # 10 + 1/2 at beta 0.1, to rounding by the seeds


def test_the_arms_are_told_cheapest_first_with_their_search_counted(
    answer: list[list[str]],
) -> None:
    columns, rows = answer[1], {row[0]: row[1:] for row in answer[3:]}
    assert columns == ["runs", "there", "run", "search", "images"]
    assert list(rows) == ["optimal", "random"]
    assert rows["optimal"] == ["2", "2", "1,350", "-", "1,350"]  # there at its first report
    runs, _, run, search, images = rows["random"]
    # Two trials of 2,700 images, and one that crashed after 1,350.
    assert (runs, search) == ("2", "6,750")
    assert images == "-" if run == "-" else int(images.replace(",", "")) > 6750
