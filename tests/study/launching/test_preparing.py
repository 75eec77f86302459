"""The progress of preparing images, on a terminal and elsewhere."""

from __future__ import annotations

import io
import secrets
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from study.launching import preparing
from study.launching.preparing import prepare_images, prepared_beside
from study.spec import StudySpec


@pytest.fixture
def spec(tmp_path: Path) -> StudySpec:
    """A study of 1,030 images and a test split of 3: two chunks and one."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 1030), ("test", 3)):
        (tmp_path / "images" / split).mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(0, 256, (2, 2), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / split / f"{i}.pgm")
    return StudySpec.from_dict(
        {
            "name": "mine",
            "data": {"name": "folder", "path": str(tmp_path / "images")},
            "model": {"name": "mlp", "latent": 2},
            "training": {"epochs": 1},
            "arms": {"a": {"balancer": "learned_sigma"}},
        }
    )


def said(spec: StudySpec, store: Path, *, terminal: bool) -> str:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=terminal, width=80, color_system=None)
    prepare_images(spec, store, None, console)
    return screen.getvalue()


def test_images_done_are_shown_with_how_many_and_the_rate(spec, tmp_path, monkeypatch):
    monkeypatch.setattr(preparing, "SOON", 0.0)
    monkeypatch.setattr(preparing, "LINE", 0.0)
    lines = said(spec, tmp_path / "plain", terminal=False).splitlines()
    shown = [line.partition(" images")[0] for line in lines]
    assert shown == [
        *(f"preparing train: {done} of 1,030" for done in ("0", "512", "1,024", "1,030")),
        *(f"preparing test: {done} of 3" for done in (0, 3)),
    ]
    assert lines[1].endswith(" a second")
    text = said(spec, tmp_path / "live", terminal=True)
    assert "preparing train: 1,024 of 1,030 images" in text
    assert "\x1b[2K" in text  # the line is redrawn, and gone at the end
    assert said(spec, tmp_path / "live", terminal=True).count("preparing") == 0


def test_what_is_done_soon_is_not_shown(spec, tmp_path, monkeypatch):
    monkeypatch.setattr(preparing, "SOON", 600.0)
    monkeypatch.setattr(preparing, "LINE", 600.0)
    assert said(spec, tmp_path / "plain", terminal=False) == ""
    assert "preparing" not in said(spec, tmp_path / "live", terminal=True)


def test_images_that_nobody_waits_for_any_more_are_given_up(spec, tmp_path, monkeypatch):
    """A Ctrl-C while Ray starts does not wait for hours of images."""
    given_up = threading.Event()
    prepare = preparing.prepare

    def endless(settings, store, data_root, watch):
        try:
            while True:
                prepare(settings, tmp_path / secrets.token_hex(4), data_root, watch)
        finally:
            given_up.set()

    monkeypatch.setattr(preparing, "prepare", endless)
    with pytest.raises(KeyboardInterrupt), prepared_beside(spec, tmp_path, None):
        raise KeyboardInterrupt
    assert given_up.is_set()
    assert not [*tmp_path.glob("**/*.partial*")]


def test_images_are_prepared_beside_a_block(spec, tmp_path):
    with prepared_beside(spec, tmp_path / "store", None) as preparing:
        found = preparing.result()
    assert found.counts == {"train": 1030, "test": 3}
