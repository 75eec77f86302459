"""A study that the journal's first format recorded is verified as it was then."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from study import api
from vae_core.data import prepare

FIXTURE = Path(__file__).parents[1] / "journal" / "format1"


def test_it_agrees_under_its_numerics_key(tmp_path: Path) -> None:
    shutil.copytree(FIXTURE / "finished", tmp_path / "format1")
    spec = api.frozen_spec(api.find("format1", tmp_path))
    prepare(spec.data.settings, tmp_path / "data")
    recorded = json.loads((FIXTURE / "verify.json").read_text())
    found = api.verify("format1", home=tmp_path)
    assert found.agrees or found.keys, str(found)
    assert not found.failed
    assert (found.trial, found.slots) == (recorded["trial"], recorded["slots"])
    for now, then in zip(found.trainings, recorded["trainings"], strict=True):
        assert (now.slot, now.metrics) == (then["slot"], then["metrics"])
        assert (now.beside, now.weights) == (then["beside"], then["weights"])
