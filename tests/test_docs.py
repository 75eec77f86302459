"""What the documents show, run."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from study.spec import arm_roles, load_spec, warnings
from vae_core.balancers import BALANCERS
from vae_core.geometry import ImageShape
from vae_core.models import MODELS, check_model

ROOT = Path(__file__).parent.parent


def blocks(document: str, language: str) -> list[str]:
    text = (ROOT / document).read_text()
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for block in blocks("docs/studies.md", "python"):
        name = block.split()[1]
        (tmp_path / name).write_text(block)
        sys.modules.pop(name.removesuffix(".py"), None)
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.usefixtures("modules")
def test_the_guides_own_model_and_balancer_keep_their_contracts() -> None:
    check_model(MODELS.get("my_vae:Linear"), ImageShape(1, 8, 8), 3)
    assert BALANCERS.get("my_balancer:HalfMse").name == "half_mse"  # the registry checks it


def test_the_readmes_study_is_a_study(tmp_path: Path) -> None:
    (text,) = blocks("README.md", "yaml")
    (tmp_path / "mine.yaml").write_text(text)
    spec = load_spec(tmp_path / "mine.yaml", ["training.epochs=3"])
    assert spec.name == "mine"
    assert warnings(spec, arm_roles(spec)) == []


@pytest.mark.parametrize(
    "document", sorted(p.relative_to(ROOT) for p in ROOT.glob("**/*.md") if ".venv" not in p.parts)
)
def test_links_lead_somewhere(document: Path) -> None:
    text = (ROOT / document).read_text()
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if not target.startswith("http"):
            assert (ROOT / document.parent / target).exists(), target
