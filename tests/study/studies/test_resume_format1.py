"""A study that the journal's first format recorded, resumed for real: engines, Ray, MLflow."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import harness
import pyarrow.parquet as pq
import pytest
from entries import of_kind

from study.journal import read_entries
from study.journal.events import StudyDescribed, StudyFinished, TrialEnded, TrialPlaced
from study.journal.upgrades import BALANCER_CONSTANTS
from vae_core.data import prepare
from vae_core.evaluation.aggregate import NAMES

FORMAT_1 = Path(__file__).parents[1] / "journal" / "format1"
NAME = "format1"


@pytest.mark.timeout(600)
def test_it_resumes_to_the_table_of_the_version_that_wrote_it(tmp_path: Path) -> None:
    home = tmp_path / "studies"
    shutil.copytree(FORMAT_1 / "interrupted", home / NAME)
    prepare({"name": "digits"}, home / "data")
    before = list(read_entries(home / NAME))
    try:
        harness.finish(home, verb="resume", spec={"name": NAME})
        assert not harness.left_over(home)
    finally:
        harness.end_all(home)
    entries = list(read_entries(home / NAME))
    assert entries[: len(before)] == before
    assert isinstance(entries[-1].event, StudyFinished)
    (study,) = of_kind(entries, StudyDescribed)
    assert study.roles["weighted"] == {"hand_tuned": True, "why": "searches k"}
    found, wanted = harness.table(home, NAME), compared(FORMAT_1 / "trials.parquet")
    for row in found:  # in later formats: who drew a trial, its stage, course, balancer's constants
        assert row.pop("drawn_by") in {None, "random", "tpe"}
        assert row.pop("stage") is row.pop("course") is None
    measured = [[row.pop(f"test_{name}") for name in NAMES] for row in found]  # in later versions
    for row in wanted:
        for split in ("validation", "test"):
            value = row.pop(f"{split}_calibrated_elbo")
            row[f"{split}_calibrated_negative_elbo"] = value
        row["settings"] = with_constants(row["settings"])
    assert [row["trial"] for row in found] == [row["trial"] for row in wanted]
    keys = {repr(dict(placed.key)) for placed in of_kind(entries, TrialPlaced)}
    if len(keys) == 1:  # this machine and these libraries are those of the recording
        assert found == wanted
    ended = {end.trial for end in of_kind(before, TrialEnded)}
    assert len(ended) == 4
    for row, values in zip(found, measured, strict=True):
        confirmed_since = row["phase"] == "confirm" and row["trial"] not in ended
        assert [value is not None for value in values] == [confirmed_since] * len(NAMES)
    for row, recorded in zip(found, wanted, strict=True):
        if row["trial"] in ended:  # which of them is chosen depends on trials that trained since
            assert row == recorded | {"chosen": row["chosen"]}
    states = {row["trial"]: row["state"] for row in found}
    assert states["tpe.search.r0.0001.retry1"] in {"complete", "pruned"}  # its command was waiting
    assert set(states.values()) <= {"complete", "pruned"}


def with_constants(settings: str) -> str:
    """A trial's settings with the balancer's constants that were defaults when it was asked."""
    found = json.loads(settings)
    constants = BALANCER_CONSTANTS.get(found["balancer"]["name"], {})
    found["balancer"] = {**constants, **found["balancer"]}
    return json.dumps(found, sort_keys=True)


def compared(file: Path) -> list[dict[str, Any]]:
    """The rows of a table, less what a crash, an engine or a neighbour may change."""
    rows = pq.read_table(file).to_pylist()
    return [{k: v for k, v in row.items() if not harness.NOT_COMPARED.search(k)} for row in rows]
