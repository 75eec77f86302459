"""The home as two machines see it: the folders of this one stand for both."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from study.diagnosing import storage
from study.diagnosing.storage import measure, replied, trial_folder, try_folder


def test_a_home_that_is_not_there_is_not_there_afterwards(tmp_path: Path) -> None:
    home = tmp_path / "some" / "studies"
    with trial_folder(home) as folder:
        assert folder.parent == home
    assert list(tmp_path.iterdir()) == []
    home.mkdir(parents=True)
    (home / "mine").touch()
    with trial_folder(home):
        pass
    assert [path.name for path in home.iterdir()] == ["mine"]


def test_a_file_in_its_place_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="Not a directory"), trial_folder(tmp_path / "file" / "home"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_folder_that_both_see(tmp_path: Path) -> None:
    with trial_folder(tmp_path) as folder:
        found = try_folder(folder, "node")
        assert found is not None
        assert found.rate > 0 < found.sync
        assert (found.replaces, found.links) == (True, True)
        assert replied(folder, "node")


def test_a_folder_that_only_the_driver_sees(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "_SPREAD", 0.2)
    with trial_folder(tmp_path) as folder:
        assert try_folder(tmp_path / "elsewhere", "node") is None
        assert not replied(folder, "node")
        (folder / "node").write_text("of another launch")
        assert not replied(folder, "node")


def test_a_reply_may_take_a_moment_to_be_seen(tmp_path: Path) -> None:
    with trial_folder(tmp_path) as folder:
        late = threading.Timer(0.5, lambda: try_folder(folder, "node"))
        late.start()
        assert replied(folder, "node")
        late.join()


def test_what_a_file_system_cannot_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError("Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    assert not measure(tmp_path).links
    # One that overwrites what is there is no lock either.
    monkeypatch.setattr(os, "link", lambda old, new: Path(new).write_bytes(b""))
    assert not measure(tmp_path).links
    monkeypatch.setattr(Path, "replace", refused)
    assert not measure(tmp_path).replaces
    assert list(tmp_path.iterdir()) == []
