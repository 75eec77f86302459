from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from study.analysis import build_report, build_tables
from study.analysis.figures import SearchCurve, draw_search, search_curves


def test_best_so_far_against_all_images_spent(whole: Any) -> None:
    curves = search_curves(build_tables(whole.lines)["trials"])
    # Trials: 10.0, pruned at half, failed at once, 8.0. What was pruned still spends.
    assert curves == [SearchCurve("tpe", 0, [1000, 1500, 1500, 2500], [10.0, 10.0, 10.0, 8.0])]


@pytest.mark.parametrize("finished", [True, False])
def test_the_figure_is_drawn(whole: Any, make_stream: Any, tmp_path: Path, finished: bool) -> None:
    tables = build_tables((whole if finished else make_stream()).lines)
    draw_search(build_report(tables), tables["trials"], tmp_path / "search.png")
    with Image.open(tmp_path / "search.png") as picture:
        assert picture.size == (1050, 780)
