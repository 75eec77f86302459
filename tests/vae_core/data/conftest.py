from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

MODULE = '''
import numpy as np
from vae_core.data import Source

class Noise(Source):
    """`count` images of `side` pixels that depend on the split only."""
    def __init__(self, count=20, side=3, fault=""):
        self.count, self.side, self.fault = count, side, fault
    def describe(self, root):
        return "noise"
    def read(self, split, root):
        rng = np.random.default_rng(split == "test")
        for start in range(0, self.count, 7):
            n = min(7, self.count - start)
            x = rng.integers(0, 256, (n, 1, self.side, self.side), np.uint8)
            y = np.arange(start, start + n)
            if self.fault and split == "test" and start >= 7:
                x, y = eval(self.fault)
            yield x, y

class Raising(Noise):
    def read(self, split, root):
        yield from super().read(split, root)
        if split == "test":
            raise KeyboardInterrupt

class Empty(Noise):
    def read(self, split, root):
        return iter(())

class Shapes(Noise):
    def read(self, split, root):
        self.side = 2 if split == "test" else 3
        return super().read(split, root)

class Three(Noise):
    def split_names(self, root):
        return ("train", "validation", "test")
    def read(self, split, root):
        rng = np.random.default_rng(["train", "validation", "test"].index(split))
        for start in (0, 7, 14):
            n = 7 if start < 14 else 6
            yield rng.integers(0, 256, (n, 1, 3, 3), np.uint8), np.arange(start, start + n)

class Blank(Noise):
    def read(self, split, root):
        yield np.full((9, 1, 3, 3), split == "test", np.uint8), np.arange(9)

class Halves(Noise):
    def split_names(self, root):
        return ("train", "rest")

class Pinned(Noise):
    sha256 = {"train": "0" * 64}

class Unfinished(Source):
    def describe(self, root):
        return ""

class Other:
    pass
'''


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Import paths of a user's own sources, by class name."""
    (tmp_path / "own_module").mkdir()
    (tmp_path / "own_module" / "my_sources.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path / "own_module")
    return lambda name: f"my_sources:{name}"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def picture() -> Callable[..., np.ndarray]:
    """Write an image file of random pixels and return its pixels [H, W] or [H, W, 3]."""

    def make(path: Path, height: int = 6, width: int = 6, mode: str = "L") -> np.ndarray:
        path.parent.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(zlib.crc32(path.name.encode()))
        shape = (height, width) if mode == "L" else (height, width, len(mode))
        pixels = rng.integers(0, 256, shape, np.uint8)
        Image.fromarray(pixels, mode).save(path)
        return pixels

    return make


@pytest.fixture
def real_root() -> Path:
    """The folder of the real datasets."""
    if "STUDY_DATA_ROOT" not in os.environ:
        pytest.skip("STUDY_DATA_ROOT does not name the folder of the real datasets")
    return Path(os.environ["STUDY_DATA_ROOT"]).expanduser()
