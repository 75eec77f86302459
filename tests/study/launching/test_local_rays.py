"""Whose Ray `--address auto` takes."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from study.launching import ray_cluster
from study.launching.local_rays import latest_ray, own_rays
from study.launching.ray_cluster import AddressError, check_address

CLOSED = ("127.0.0.1:1", "127.0.0.1:2")


@contextmanager
def raylet(address: str) -> Iterator[None]:
    """A process of this user that looks like a node of the Ray at ``address``."""
    words = ["/any/where/raylet", "-c", "read; exit", f"--gcs-address={address}", "--node_id=0"]
    process = subprocess.Popen(words, executable="/bin/bash", stdin=subprocess.PIPE)
    while not Path(f"/proc/{process.pid}/cmdline").read_bytes():
        time.sleep(0.01)  # the system starts a program before it shows its words
    try:
        yield
    finally:
        process.communicate()


def test_the_rays_of_this_user_are_those_whose_raylets_are():
    with raylet(CLOSED[0]), raylet(CLOSED[1]):
        assert set(CLOSED) <= set(own_rays())
    assert not set(CLOSED) & set(own_rays())


@pytest.fixture(autouse=True)
def _nothing_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))


def latest_is(folder: Path, address: str) -> None:
    """Leave ``address`` where `ray start` does."""
    (folder / "ray").mkdir()
    (folder / "ray" / "ray_current_cluster").write_text(address)


def test_of_several_the_one_that_was_started_last(tmp_path, monkeypatch):
    assert latest_ray() is None
    latest_is(tmp_path, CLOSED[1])
    with raylet(CLOSED[0]), raylet(CLOSED[1]):
        with pytest.raises(AddressError, match=f"no Ray cluster answers at '{CLOSED[1]}'"):
            check_address("auto")
        monkeypatch.setenv("RAY_ADDRESS", CLOSED[0])
        with pytest.raises(AddressError, match=f"no Ray cluster answers at '{CLOSED[0]}'"):
            check_address("auto")


def test_another_users_is_not_taken_though_it_was_started_last(tmp_path, monkeypatch):
    latest_is(tmp_path, "127.0.0.1:3")
    monkeypatch.setattr(ray_cluster, "own_rays", list)
    with pytest.raises(AddressError, match="no Ray of yours runs on this machine") as caught:
        check_address("auto")
    assert "leave --address out" in caught.value.remedy
    monkeypatch.setattr(ray_cluster, "own_rays", lambda: [CLOSED[0]])
    with pytest.raises(AddressError, match=f"no Ray cluster answers at '{CLOSED[0]}'"):
        check_address("auto")
    monkeypatch.setattr(ray_cluster, "own_rays", lambda: [*CLOSED])
    with pytest.raises(AddressError, match=f"several Rays of yours .*: {CLOSED[0]}, {CLOSED[1]}"):
        check_address("auto")
