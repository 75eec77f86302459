"""When trials came to within 1 % of where they ended, by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf, nan
from typing import Any

import pyarrow as pa
import pytest

from study.analysis.records.convergence import arrivals
from study.analysis.records.tables import build_tables


def records(curves: Mapping[str, Sequence[float | None]]) -> pa.Table:
    """A table of reports every 100 images, of trials one after another."""
    rows = [(t, 100 * n, v) for t, curve in curves.items() for n, v in enumerate(curve, 1)]
    return pa.table(
        {
            "trial": pa.array([row[0] for row in rows], pa.string()),
            "images": pa.array([row[1] for row in rows], pa.int64()),
            "validation_fid_gen1": pa.array([row[2] for row in rows], pa.float64()),
        }
    )


@pytest.mark.parametrize(
    ("curve", "images"),
    [
        ([300, 150, 102, 100.5, 100], 400),
        ([300, 150, 101, 99.0, 100], 300),  # just 1 % away, on both sides, is near enough
        ([100, 100, 100, 100], 100),  # ties: there from the first report
        ([100, 150, 100.2, 100], 300),  # it came near and went away again: only the last counts
        ([300, 200, 150, 100], 400),  # it still fell at the end
        ([100], 100),
        ([90, 95, 99.5, 100], 300),  # from below as well
        ([-50, -90, -99.5, -100], 300),  # a density's negative ELBO may be below 0
        ([100, -100], 200),  # as far from 0, and yet elsewhere
        ([1e-9, 0.0, 0.0], 200),  # of 0 there is no 1 %
        ([100, None, 100], 300),  # a report without a value was not near
        ([None, 100.2, 100], 200),
        ([100, inf, 100], 300),
    ],
)
def test_the_first_report_after_which_it_stayed(curve: list[float | None], images: int) -> None:
    found = arrivals(records({"t": curve}), "fid_gen1")
    assert found == {"t": (images - 100, images)}, "between two reports"


@pytest.mark.parametrize("last", [None, nan, inf])
def test_a_trial_without_a_last_value_never_arrived(last: float | None) -> None:
    table = records({"gone": [100, 100, last], "there": [100, 100, 100]})
    assert arrivals(table, "fid_gen1") == {"there": (0, 100)}


def test_each_trial_by_its_own_end(make_stream: Any) -> None:
    table = records({"a": [200, 100, 100], "b": [100, 200], "c": [5.0]})
    assert arrivals(table, "fid_gen1") == {"a": (100, 200), "b": (100, 200), "c": (0, 100)}
    assert arrivals(table, "calibrated_negative_elbo") == {}, "another objective's"
    empty = build_tables(make_stream().entries)["records"]
    assert arrivals(empty, "calibrated_negative_elbo") == {}


def test_from_a_journal(whole: Any) -> None:
    """Its trials report at 500 and 1000 images, 1 above the end at the first."""
    found = arrivals(build_tables(whole.entries)["records"], "calibrated_negative_elbo")
    assert found["tpe.confirm.r0.from3.0000"] == (500, 1000)
    assert found["tpe.search.r0.0001"] == (0, 500), "pruned there: it ended where it was"
    assert "tpe.search.r0.0002" not in found, "failed, without a report"
    assert len(found) == 9
