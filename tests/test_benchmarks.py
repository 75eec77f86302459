"""The benchmarks' commands run and print their tables; what they measure is not judged here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def table_of(module: str) -> list[list[str]]:
    """Rows of the tables ``python -m module --toy`` prints, as cells."""
    done = subprocess.run(
        [sys.executable, "-m", module, "--toy"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_bank_is_timed_beside_a_loop_and_beside_itself() -> None:
    rows = table_of("benchmarks.bank")
    names = [row[0] for row in rows]
    assert [name.split()[0] for name in names[2:5]] == ["digits", "28x28", "28x28"]
    assert names[7:] == ["K = 2", "K = 4", "K = 8", "K = 16"]
    judged = {row[0]: row[-1].split()[:2] for row in rows if row[-1].startswith(">=")}
    assert [judged[name] for name in names[2:5]] == [[">=", "0.95"]] * 3
    assert judged["K = 8"] == [">=", "1.5"]


def test_every_trial_of_the_overhead_study_ends() -> None:
    trials, reports, slots, seconds, _ = table_of("benchmarks.tune_overhead")[-1]
    assert (trials, reports, slots) == ("8", "10", "2")
    assert float(seconds) > 0


def test_a_made_up_study_is_reported_whole_and_the_report_is_measured() -> None:
    rows = {name: (measured, target) for name, measured, _, target in table_of("benchmarks.report")}
    for judged in ("seconds", "MiB at the peak", "MiB of its page"):
        measured, target = rows[judged]
        assert float(measured) > 0
        assert target.startswith("<=")
    assert float(rows["MiB of journal"][0]) > 0
