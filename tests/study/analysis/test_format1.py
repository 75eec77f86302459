"""Tables and report of a study whose journal an earlier version wrote: equal to what it made."""

from __future__ import annotations

import json
from math import isclose
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from study.analysis.answers.report import build_report, summary
from study.analysis.records.tables import build_tables, recorded_roles
from study.journal import read_entries

FIXTURE = Path(__file__).parents[1] / "journal" / "format1"
REWORDED = {
    "none is honest at": "none covers 95 % at",
    "an interval takes replicates: 5 or more": "set `replicates: 6` or more to get an interval",
    "calibrated_elbo": "calibrated_negative_elbo",
    "own_elbo": "own_negative_elbo",
    "-ELBO": "negative ELBO",
}


def reworded(text: str) -> str:
    """What an earlier version wrote, in the words of this one."""
    for earlier, later in REWORDED.items():
        text = text.replace(earlier, later)
    return text


@pytest.fixture(scope="module")
def tables() -> dict[str, pa.Table]:
    return build_tables(read_entries(FIXTURE / "finished"))


@pytest.fixture(scope="module")
def before() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FIXTURE / "report.json").read_text())
    return found


@pytest.fixture(scope="module")
def now(tables: dict[str, pa.Table]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(summary(build_report(tables))))
    return found


def same(old: Any, new: Any, where: str = "report") -> None:
    """That ``new`` has all that ``old`` has; it may have further keys."""
    if isinstance(old, dict):
        assert isinstance(new, dict), where
        for key, value in ((reworded(key), value) for key, value in old.items()):
            assert key in new, f"{where}.{key}"
            same(value, new[key], f"{where}.{key}")
    elif isinstance(old, list):
        assert len(old) == len(new), where
        for i, (one, other) in enumerate(zip(old, new, strict=True)):
            same(one, other, f"{where}[{i}]")
    elif isinstance(old, float) and isinstance(new, float):
        # A sum of products is rounded as the processor's library orders it.
        assert isclose(old, new, rel_tol=1e-12), where
    else:
        assert (reworded(old) if isinstance(old, str) else old) == new, where


@pytest.mark.parametrize("name", ["records", "trials"])
def test_tables_are_equal_to_the_last_bit(tables: dict[str, pa.Table], name: str) -> None:
    old, new = pq.read_table(FIXTURE / f"{name}.parquet"), tables[name]
    facts = [json.loads(table.schema.metadata[b"study"]) for table in (old, new)]
    same(*facts)
    old = old.rename_columns([reworded(column) for column in old.column_names])
    if name == "trials":  # in later formats: what drew a trial, and what a confirm run is for
        assert new["drawn_by"].null_count == new["stage"].null_count == len(new)
        new = new.drop_columns(["course", "drawn_by", "stage"])
    assert new.schema.equals(old.schema)  # names, order and types of the columns
    for column in old.column_names:
        if column == "settings":  # upgrades name the clip that balancers had then
            found = [
                text.replace('"log_sigma_min": -6.0, ', "") for text in new[column].to_pylist()
            ]
            assert found == old[column].to_pylist()
        else:
            assert new[column].equals(old[column]), column


def test_an_arm_that_searches_the_weight_is_hand_tuned_now(
    tables: dict[str, pa.Table], before: dict[str, Any], now: dict[str, Any]
) -> None:
    roles = recorded_roles(tables["trials"])
    assert {arm: role.why for arm, role in roles.items() if role.hand_tuned} == {
        "random": "searches beta", "tpe": "searches beta", "weighted": "searches k",
    }  # fmt: skip
    assert [arm for arm, role in roles.items() if not role.hand_tuned] == ["optimal"]
    old, new = ({arm["arm"]: arm["automatic"] for arm in r["arms"]} for r in (before, now))
    assert {arm for arm in old if old[arm] != new[arm]} == {"weighted"}
    pairs = [(c["hand"], c["automatic"]) for c in now["comparisons"]]
    assert pairs == [("random", "optimal"), ("tpe", "optimal"), ("weighted", "optimal")]
    assert now["ratio_to"] == "optimal"
    note = "Hand-tuned: random (searches beta), tpe (searches beta), weighted (searches k)."
    assert note in now["notes"]


def test_the_report_has_every_number_it_had(before: dict[str, Any], now: dict[str, Any]) -> None:
    assert set(before) <= set(now)
    for report in (before, now):
        for arm in [*report["arms"], *report["plane"]["landings"], *report["curves"],
                    *report["second_curves"]]:  # fmt: skip
            if arm["arm"] == "weighted":
                del arm["automatic"]
            if report is now and "settings" in arm:  # as above
                texts = [text.replace("log_sigma_min=-6", "") for text in arm["settings"]]
                arm["settings"] = [text.removeprefix(", ") for text in texts]
    # What depends on which arms are hand-tuned: compared below where the pair is still one.
    depends = {
        "verdict", "remarks", "notes", "comparisons", "second_comparisons", "break_even",
        "second_break_even", "narrowed", "non_inferiority",
    }  # fmt: skip
    for key in before.keys() - depends:
        same(before[key], now[key], key)
    for key in depends - {"verdict", "remarks", "notes", "narrowed"}:
        ends = ("arm", "against") if "break_even" in key else ("hand", "automatic")
        old, new = ({tuple(c[end] for end in ends): c for c in r[key]} for r in (before, now))
        kept = [pair for pair in old if pair[1] == "optimal"]
        assert kept
        # By the rule of later versions two seeds decide nothing, and the sentences say so.
        judged = {"outcome", "finding", "sentence", "shown"}
        for pair in kept:
            numbers = {name: value for name, value in old[pair].items() if name not in judged}
            same(numbers, new[pair], f"{key} {pair}")
            assert new[pair].get("outcome", "can't be told") == "can't be told"
    assert now["failures"] == []
