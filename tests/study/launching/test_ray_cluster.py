"""A Ray address at which no cluster answers: said soon, whatever is there instead."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack, closing

import pytest
import ray

from study.launching import ray_cluster as cluster
from study.launching.ray_cluster import (
    AddressCheck,
    AddressError,
    RayStartError,
    check_address,
    ray_up,
)
from study.spec import load_spec


def test_a_port_nobody_listens_on():
    with pytest.raises(AddressError) as caught:
        check_address("127.0.0.1:1")
    assert caught.value.what.startswith("no Ray cluster answers at '127.0.0.1:1': ")
    assert "Connection refused" in caught.value.what
    assert caught.value.where == "--address"
    assert "leave --address out" in caught.value.remedy


def test_a_host_that_is_not_there():
    with pytest.raises(AddressError, match="no Ray cluster answers at 'nowhere-at-all:6379'"):
        check_address("nowhere-at-all:6379")


def test_something_else_listens_there(monkeypatch):
    # Ray itself asks it again for minutes.
    monkeypatch.setattr(cluster, "PATIENCE", 3.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(AddressError, match=f"'{address}': nothing within 3 s"):
            check_address(address)


def test_what_is_no_address():
    with pytest.raises(AddressError, match="'nonsense': Invalid address format: nonsense"):
        check_address("nonsense")
    assert not ray.is_initialized()


def test_a_local_ray_that_does_not_start_is_no_stack_of_calls(monkeypatch):
    def busy(**options):
        raise Exception("The current node timed out\nduring startup.")

    monkeypatch.setattr(ray, "init", busy)
    with (
        ExitStack() as stack,
        pytest.raises(RayStartError, match="does not start on this machine: The current node") as e,
    ):
        ray_up(None, load_spec("quickstart"), stack)
    assert e.value.exit_code == 1
    assert "launch again" in e.value.remedy


def test_no_folder_is_short_enough_for_rays_sockets(tmp_path, monkeypatch):
    long = tmp_path / ("x" * 90)
    monkeypatch.setenv("RAY_TMPDIR", str(long))
    monkeypatch.setattr(cluster, "_SHORT", (str(tmp_path / "not there"),))
    with (
        ExitStack() as stack,
        pytest.raises(
            RayStartError, match=rf"sockets below '{long}' would have paths of \d+ bytes"
        ) as e,
    ):
        ray_up(None, load_spec("quickstart"), stack)
    assert e.value.remedy == "set RAY_TMPDIR to a folder with a short path that you may write"
    assert not ray.is_initialized()
    assert not long.exists()


def test_a_check_that_nobody_waits_for_leaves_no_process():
    with socket.create_server(("127.0.0.1", 0)) as server:
        with closing(AddressCheck(f"127.0.0.1:{server.getsockname()[1]}")) as check:
            while check._process is None:
                time.sleep(0.05)
            asking = check._process
        assert asking.returncode is not None


def test_no_address_is_nothing_to_check():
    with closing(AddressCheck(None)) as check:
        check.result()
