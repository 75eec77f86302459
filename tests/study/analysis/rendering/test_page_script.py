"""The script that pages share is made once, and again when it must."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from study.analysis.rendering.figures import drawing

MAKER = """
import sys
from pathlib import Path
if sys.argv[1] != "bundle":
    sys.exit()  # it would draw
count = Path(__file__).with_name("count")
count.write_text(count.read_text() + "I" if count.exists() else "I")
print("script", count.read_text(), end="")
"""


@pytest.fixture(autouse=True)
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What makes scripts is quick, and numbers them; caches are the test's."""
    maker = tmp_path / "maker.py"
    maker.write_text(MAKER)
    monkeypatch.setattr(drawing, "_PAINTER", maker)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))


def asked(monkeypatch: pytest.MonkeyPatch) -> str:
    """The script, as a process has it that has not asked yet."""
    for name in ("vega", "_bundling"):
        monkeypatch.setattr(drawing, name, cache(getattr(drawing, name).__wrapped__))
    with drawing.prepared():
        return drawing.vega()


def test_it_is_kept_for_all_studies(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [asked(monkeypatch) for _ in range(3)] == ["script I"] * 3


def test_a_damaged_one_is_made_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked(monkeypatch)
    (kept,) = (tmp_path / "caches" / "study").iterdir()
    kept.write_bytes(kept.read_bytes()[:-1])
    assert [asked(monkeypatch) for _ in range(2)] == ["script II"] * 2


def test_where_nothing_can_be_kept_each_process_makes_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "caches").touch()
    assert [asked(monkeypatch) for _ in range(2)] == ["script I", "script II"]
