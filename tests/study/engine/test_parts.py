"""What an engine imports: which parts, and whether their code is the same elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from study.engine.actor import EngineActor
from study.engine.config import EngineConfig
from study.engine.parts import ENGINE, Part, check_parts, parts_of
from study.package import code_digest
from study.spec import StudySpec

MODELS = "vae_core.models:MODELS"
CODE = "from vae_core.models.mlp import MLP\nclass Mine(MLP): pass\n"


def own(folder: Path, name: str, **files: str) -> Part:
    """A user's model, in a module or, with other ``files``, in a package."""
    if not files:
        (folder / f"{name}.py").write_text(CODE)
        return Part(f"{name}:Mine", MODELS)
    package = folder / name
    package.mkdir()
    for file, content in {"__init__": "", "model": CODE, **files}.items():
        (package / f"{file}.py").write_text(content)
    return Part(f"{name}.model:Mine", MODELS)


def test_the_parts_of_a_study_are_those_of_its_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = own(tmp_path, "parts_mine")
    monkeypatch.syspath_prepend(tmp_path)
    spec = {
        "name": "parts",
        "data": "digits",
        "model": {"name": part.path, "latent": 2},
        "training": {"epochs": 1},
        "arms": {"learned": {"balancer": "learned_sigma"}},
    }
    assert parts_of(StudySpec.from_dict(spec)) == (ENGINE, part)
    assert parts_of(None) == (ENGINE,)
    assert ENGINE.digest() == code_digest()


@pytest.mark.parametrize("files", [{}, {"helper": "RATE = 1\n"}], ids=["module", "package"])
def test_a_part_has_another_digest_where_its_code_is_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str]
) -> None:
    found = []
    for place in ("here", "there"):
        folder = tmp_path / place
        folder.mkdir()
        part = own(folder, "parts_code", **files)
        with monkeypatch.context() as context:
            context.syspath_prepend(folder)
            found.append(part.digest())
            changed = folder / ("parts_code/helper.py" if files else "parts_code.py")
            changed.write_text(changed.read_text() + "RATE = 2\n")
            found.append(part.digest())
        for name in [name for name in sys.modules if name.startswith("parts_code")]:
            del sys.modules[name]
    assert found[:2] == found[2:]
    assert found[0] != found[1]


def test_no_engine_starts_with_other_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = own(tmp_path, "parts_engine")
    monkeypatch.syspath_prepend(tmp_path)
    wanted = {each: each.digest() for each in (ENGINE, part)}
    check_parts(wanted)
    parts = wanted | {part: "00000000"}
    config = EngineConfig("e", "home", "cpu", {}, "val", 1, "last", None, parts=parts)
    with pytest.raises(RuntimeError, match=r"parts_engine:Mine is not the driver's: .* 00000000"):
        EngineActor(config)
    with pytest.raises(Exception, match="parts_gone"):
        check_parts({Part("parts_gone:Mine", MODELS): "00000000"})
