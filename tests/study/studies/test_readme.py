"""The README's own commands, as they are written there, where the wheel alone is installed."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from installation import ROOT, install
from PIL import Image
from sklearn.datasets import load_digits

pytestmark = pytest.mark.timeout(900)
IMAGES = 130


def sequence() -> list[str]:
    """The commands of the README's first steps, those that serve until they are stopped aside."""
    start = (ROOT / "README.md").read_text().partition("\n## Start\n")[2].partition("\n## ")[0]
    _clone, block = re.findall(r"^```\n(.*?)^```", start, re.DOTALL | re.MULTILINE)
    lines = [line.partition(" #")[0].strip() for line in block.splitlines()]
    return [line for line in lines if line != "study ui"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder but for photos/: real digits, in a folder each."""
    digits = load_digits()
    pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    for i in range(IMAGES):
        of = tmp_path / "work" / "photos" / str(digits.target[i])
        of.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[i]).save(of / f"{i}.png")
    return tmp_path / "work"


def test_its_first_steps_end_with_a_verdict_on_ones_own_images(
    folder: Path, tmp_path: Path
) -> None:
    installed = install(tmp_path)
    said = {}
    for command in sequence():
        done = installed.run(command, folder)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        said[command] = done.stdout
    assert len(said) > 5
    assert said["study init folder photos"].splitlines()[-1] == "next: study launch photos"
    for number in ("difference", "cost", "break-even"):
        assert re.search(rf"^{number} +\S", said["study launch photos"], re.MULTILINE)
    assert "over 2 datasets (" in " ".join(said["study report photos quickstart"].split())
    page = Path(said["study report photos --format html"].strip())
    assert page == folder / "studies" / "photos" / "report" / "report.html"
    assert page.stat().st_size > 10_000
