"""Ray's authentication: a local Ray's token stays out of the home, and mismatches are named."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from ray._common.network_utils import find_free_port
from ray_node import node

from study.launching.ray_cluster import AddressError, check_address

TOKENS = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
LAUNCH = """
import os
from contextlib import ExitStack
import ray
from study.launching.ray_cluster import ray_up
from study.spec import load_spec

@ray.remote
def token():
    return os.environ["RAY_AUTH_MODE"], os.environ["RAY_AUTH_TOKEN"]

found, mode = [], None
for _ in range(2):
    with ExitStack() as stack:
        ray_up(None, load_spec("quickstart"), stack)
        found.append(ray.get(token.remote()))
    assert "RAY_AUTH_TOKEN" not in os.environ
    assert os.environ.get("RAY_AUTH_MODE") == mode
    mode = os.environ["RAY_AUTH_MODE"] = "token"  # the second time, as a user's own
(one, first), (other, second) = found
assert one == other == "token"
assert len(first) == 64 and first != second
"""


def without_tokens() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in TOKENS}


def test_a_local_ray_leaves_no_token_in_the_home(tmp_path: Path) -> None:
    environment = without_tokens() | {"HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", LAUNCH], env=environment, check=True, timeout=180)
    assert not (tmp_path / ".ray").exists()


@contextmanager
def cluster(folder: Path, settings: Mapping[str, str]) -> Iterator[str]:
    """The address of a Ray node of its own, as `ray start --head` starts it."""
    port = find_free_port()
    options = ("--head", f"--port={port}", "--num-cpus=1", "--include-dashboard=false")
    environment = without_tokens() | {"HOME": str(folder)} | settings
    with node(folder / "head.log", *options, environment=environment):
        yield f"127.0.0.1:{port}"


@pytest.fixture
def tokens(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in TOKENS:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_a_cluster_without_authentication(tmp_path: Path, tokens: pytest.MonkeyPatch) -> None:
    with cluster(tmp_path, {"RAY_AUTH_MODE": "disabled"}) as address:
        check_address(address)
        tokens.setenv("RAY_AUTH_MODE", "token")
        tokens.setenv("RAY_AUTH_TOKEN", "7" * 64)
        with pytest.raises(AddressError, match="without authentication, and this process") as found:
            check_address(address)
        assert found.value.where == "RAY_AUTH_MODE"


def test_a_cluster_with_a_token(tmp_path: Path, tokens: pytest.MonkeyPatch) -> None:
    with cluster(tmp_path, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "7" * 64}) as address:
        tokens.setenv("RAY_AUTH_MODE", "token")
        tokens.setenv("RAY_AUTH_TOKEN", "8" * 64)
        with pytest.raises(AddressError, match="asks for a token, and this process") as found:
            check_address(address)
        assert found.value.where == "RAY_AUTH_TOKEN"
        tokens.setenv("RAY_AUTH_TOKEN", "7" * 64)
        check_address(address)
