"""The script that pages share is made once, and again when it must."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from study.analysis.rendering.figures import drawing


@pytest.fixture(autouse=True)
def _of_this_process() -> Iterator[None]:
    asked_again()
    yield
    asked_again()


def asked_again() -> None:
    """What a process that has not asked yet is like."""
    drawing.vega.cache_clear()
    drawing._bundling.cache_clear()


def test_it_is_kept_for_all_studies_and_a_damaged_one_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made = drawing.vega()
    assert "vegaEmbed" in made
    (kept,) = (tmp_path / "study").iterdir()
    whole = kept.read_bytes()

    with monkeypatch.context() as patch:
        patch.setattr(drawing, "_PAINTER", tmp_path / "none.py")  # nothing can make one
        asked_again()
        drawing.prepare()
        assert drawing.vega() == made

        kept.write_bytes(whole[:-1])
        asked_again()
        with pytest.raises(RuntimeError, match="could not be made"):
            drawing.vega()

    asked_again()
    assert drawing.vega() == made
    assert kept.read_bytes() == whole


def test_where_nothing_can_be_kept_it_is_made_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert "vegaEmbed" in drawing.vega()
