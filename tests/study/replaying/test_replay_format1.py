"""A study that the journal's first format recorded replays as it did then, to 12 digits.

The last bits of a mean depend on the processor that sums it.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from study import api
from study.metrics import FORMER_NAMES

FIXTURE = Path(__file__).parents[1] / "journal" / "format1"
RENAMED = {"drawn": "random_baseline", "crowded": "collisions"}
SENTENCES = {"notes", "what", "why"}


def numbers(found: Any) -> Any:
    """What was printed, under today's names and without sentences."""
    if isinstance(found, dict):
        return {
            RENAMED.get(name, name): numbers(value)
            for name, value in found.items()
            if name not in SENTENCES
        }
    if isinstance(found, float):
        return float(f"{found:.12g}")
    return [numbers(value) for value in found] if isinstance(found, list) else found


def test_its_replay_is_the_same(tmp_path: Path) -> None:
    shutil.copytree(FIXTURE / "finished", tmp_path / "format1")
    recorded = json.loads((FIXTURE / "replay.json").read_text())
    # It searches k, and so is hand-tuned: the version that made the file took it for automatic.
    recorded["objective"] = FORMER_NAMES[recorded["objective"]]
    weighted = recorded["levels"].pop()
    assert weighted["arm"] == "weighted"
    policy = {"name": "tpe", "n_startup_trials": 1}
    found = api.replay("format1", policy, arm="random", batch=1, repeats=20, home=tmp_path)
    # Through JSON, as it was printed.
    shown = numbers(json.loads(json.dumps(found.to_dict())))
    assert shown.pop("chosen") == 1.0  # of 2 trials; the file's version did not count
    assert shown == numbers(recorded)
    assert len(found.notes) == len(recorded["notes"])
