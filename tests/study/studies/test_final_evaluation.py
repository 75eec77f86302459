"""A whole study with every final metric, its driver killed during a final evaluation."""

from __future__ import annotations

import copy
import json
import signal
from pathlib import Path
from typing import Any

import harness
import pytest
from harness import SPEC, Launch, judge

from study import load
from study.analysis.records.tables import study_facts
from study.engine import checkpoints

STUDY: dict[str, Any] = {
    **{key: copy.deepcopy(SPEC[key]) for key in ("name", "question", "data", "model", "engines")},
    "training": {"epochs": 10, "batch_size": 64, "lr": 3e-3, "reports": 3},
    "seeds": [0],
    "evaluation": {
        "images": 200,
        "pictures": 4,
        "iwae": 5,
        "features": ["classifier"],
        "samples": 100,
        "generators": ["prior", "second_stage"],
        "second_stage": {"width": 64, "epochs": 30, "batch_size": 50},
    },
    "arms": {
        "random": {
            "balancer": "fixed_beta",
            "search": {"space": {"beta": harness.BETA}, "trials": 2},
        },
        "image": {"balancer": "predicted_image_sigma"},
    },
}


def measured(study: Path) -> list[Path]:
    """Folders of the trials in their final evaluation, their last report in a checkpoint."""
    found = []
    for folder in sorted((study / "trials").glob("*.confirm.*")):
        saved = checkpoints.newest(folder)
        if saved is not None and saved.pending is not None:
            found.append(folder)
    return found


@pytest.mark.timeout(600)
def test_a_driver_killed_during_a_final_evaluation_changes_nothing(tmp_path: Path) -> None:
    reference, home = tmp_path / "reference", tmp_path / "studies"
    try:
        undisturbed = Launch(reference, spec=STUDY)
        run = Launch(home, spec=STUDY)
        run.until(lambda: bool(measured(run.study)), "a trial in its final evaluation")
        assert run.code is None, run.text()
        engines = harness.processes(home, harness.TITLES["engine"])
        for engine in engines:  # so that it does not finish while its driver dies
            engine.kill(signal.SIGSTOP)
        (folder,) = measured(run.study)
        run.process.kill()
        run.end()
        for engine in engines:
            engine.kill()
        harness.finish(home, verb="resume", spec=STUDY)
        assert undisturbed.end() == 0, undisturbed.text()
        assert not (found := judge(home, reference)), found
    finally:
        for started in (reference, home):
            harness.end_all(started)

    tables = load(harness.NAME, home=home, arrow=True)
    # The trial was not trained again: only its final evaluation was repeated.
    records = tables["records"].to_pylist()
    (last,) = [r for r in records if r["trial"] == folder.name and r["step"] == 3]
    assert last["training_seconds"] == 0.0
    assert last["second_stage_seconds"] > 0.0
    for row in tables["trials"].to_pylist():
        assert row["redone_images"] == 0
        confirmed = row["phase"] == "confirm"
        assert (row["second_stage_seconds"] > 0) == confirmed
        for what in ("gen1", "gen2", "rec", "interpolation"):
            assert (row[f"test_frechet_classifier_{what}"] is not None) == confirmed
        own = row["test_own_bits_per_dim"] is not None
        assert own == (row["arm"] == "image"), (
            "every trial of a predicted sigma has its own likelihood"
        )

    text = (home / harness.NAME / "report" / "report.txt").read_text()
    title = "Frechet distance in a local classifier's features"
    assert title in text
    table = text[text.index(title) :]
    assert table.split("arm", 1)[1].split()[:4] == ["REC", "GEN-1", "GEN-2", "interp."]
    assert "do not add up" not in text
    (described,) = study_facts(tables["trials"])["features"]["classifier"]
    assert described["n"] == 100
    assert f"SHA-256 {described['sha256'][:12]}" in " ".join(text.split())
    assert (home / harness.NAME / "report" / "figures" / "calibration.png").stat().st_size > 1000
    assert json.loads(tables["trials"]["artifacts"][-1].as_py())["second_stage"]
