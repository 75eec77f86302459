"""A study's home from elsewhere: looking into it runs no code and reaches nothing outside it."""

from __future__ import annotations

import hashlib
import os
import pickle
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from study.cli import main
from study.journal import Journal, StudyHome
from study.journal.events import (
    EngineChanged,
    LaunchBegan,
    Reported,
    StudyDescribed,
    StudyFinished,
    TrialAsked,
    TrialEnded,
    TrialPlaced,
)

TRIAL = "evil.confirm.r0.fixed.0000"
EVIL = """\
from pathlib import Path
Path({mark!r}).touch()
class Model: pass
class Source: pass
class Balancer: pass
"""
SPEC: dict[str, Any] = {
    "name": "evil",
    "data": {"name": "evil:Source"},
    "model": {"name": "evil:Model", "latent": 2},
    "training": {"epochs": 1, "reports": 1},
    "seeds": [0],
    "arms": {"evil": {"balancer": {"name": "evil:Balancer"}}},
}
VERBS = [
    ["status", "evil"],
    ["show", "evil", TRIAL],
    ["report", "evil"],
    ["report", "evil", "--format", "json"],
    ["clean", "evil", "--dry-run"],
    ["clean", "evil"],
    ["stop", "evil", "--arm", "evil"],
    ["stop", "evil"],
    ["retry", "evil", TRIAL],
    ["export", "evil", "evil", "../../exported"],
    ["data", "list"],
]


class Bomb:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """A file that is there once anything of the home has run."""
    return tmp_path / "it_ran"


@pytest.fixture
def studies(tmp_path: Path, mark: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Studies' home with a study that would do harm if it could; the current folder is its own."""
    studies = tmp_path / "studies"
    home = StudyHome(studies, "evil")
    home.make()
    home.spec.write_text(yaml.safe_dump(SPEC))
    (home.path / "evil.py").write_text(EVIL.format(mark=str(mark)))
    (home.path / "sitecustomize.py").write_text(EVIL.format(mark=str(mark)))
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "000000010-000001.ckpt").write_bytes(b"not its own")
    (outside / "model.pt").write_bytes(b"not its own")
    bomb = pickle.dumps(Bomb(mark))
    for folder in (home.trial(TRIAL), home.path / "engines", home.report):
        folder.mkdir(parents=True)
        for name in ("model.pt", "000000010-000001.ckpt", "e1.json", "spec.pkl"):
            (folder / name).write_bytes(bomb)
        (folder / "000000020-000001.ckpt").write_bytes(hashlib.sha256(bomb).digest() + bomb)
    _journal(home, outside)
    monkeypatch.chdir(home.path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "evil", raising=False)
    return studies


def _journal(home: StudyHome, outside: Path) -> None:
    journal = Journal(home.path)
    spec = SPEC | {"objective": "calibrated_negative_elbo"}
    files = {"train": "/etc/passwd", "test": "../../outside/model.pt"}
    data = {"name": "evil", "shape": [1, 2, 2], "files": files, "sha256": {}, "counts": {}}
    roles = {"evil": {"hand_tuned": False, "why": ""}}
    journal.append(StudyDescribed("evil", spec, "0", "1", data | {"source": ""}, roles))
    journal.append(LaunchBegan(1, 1, "h", ["sh", "-c", "touch"]))
    engine = EngineChanged("../../outside/e", "started", "cpu", 1)
    journal.append(engine)
    for trial in (TRIAL, "../../outside", f"{outside}", "evil.confirm.r0.fixed.0001"):
        journal.append(TrialAsked(trial, "evil", "confirm", 0, 0, 0, params={}, settings=SPEC))
        journal.append(TrialPlaced(trial, engine.engine, "x", {"width": 1}))
        metrics = {"validation/calibrated_negative_elbo": 1.0}
        seconds = {"training": 1.0, "evaluation": 1.0}
        journal.append(Reported(trial, 1, 10, metrics, seconds, engine.engine))
        reached = {"checkpoint": "../../outside/model.pt", "samples": "/etc/passwd"}
        if not trial.endswith("1"):
            journal.append(TrialEnded(trial, "complete", 1, 1.0, artifacts=reached))
    journal.append(replace(engine, state="stopped"))
    journal.append(StudyFinished())
    journal.commit()
    journal.close()


def outside(tmp_path: Path) -> dict[str, tuple[bytes, int]]:
    """All that is beside the study, with when it was written."""
    found = {}
    for folder, _, names in os.walk(tmp_path):
        if Path(folder).is_relative_to(tmp_path / "studies" / "evil"):
            continue
        for path in (Path(folder, name) for name in names):
            found[str(path)] = path.read_bytes(), path.stat().st_mtime_ns
    return found


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_a_verb_that_looks_into_it(verb: list[str], studies: Path, mark: Path) -> None:
    before = outside(studies.parent)
    result = CliRunner().invoke(main, [*verb, "--home", str(studies)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert not mark.exists()
    assert "evil" not in sys.modules
    assert outside(studies.parent) == before


def test_the_verbs_do_what_they_are_for(studies: Path) -> None:
    said = {}
    for verb in VERBS:
        result = CliRunner().invoke(main, [*verb, "--home", str(studies)])
        said[verb[0]] = (result.exit_code, result.output)
    assert said["status"][1].startswith("evil: finished")
    assert {said[verb][0] for verb in ("status", "show", "report", "clean", "data")} == {0}
    assert said["clean"][1].endswith("(checkpoints: 2)\n")


def test_reading_its_tables(studies: Path, mark: Path) -> None:
    import study

    before = outside(studies.parent)
    assert len(study.load("evil", home=studies)["trials"]) == 4
    assert outside(studies.parent) == before
    assert not mark.exists()


def test_the_mark_is_left_by_what_does_run_its_code(studies: Path, mark: Path) -> None:
    result = CliRunner().invoke(main, ["fork", "evil", "new", "--dry-run", "--home", str(studies)])
    assert result.exit_code == 2
    assert mark.exists(), "or the tests above would show nothing"
