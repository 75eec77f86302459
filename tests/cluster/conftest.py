from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import harness
import pytest
from cluster import Cluster
from hosts import Hosts, missing


@pytest.fixture(autouse=True, scope="session")
def _hosts_can_be_made() -> None:
    if (reason := missing()) is not None:
        pytest.skip(reason)


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The studies' home of :data:`harness.SPEC`'s study, run on this machine, undisturbed."""
    return harness.finish(tmp_path_factory.mktemp("reference") / "studies").home


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    with Hosts(tmp_path) as hosts:
        yield hosts


@pytest.fixture
def cluster(hosts: Hosts) -> Cluster:
    """A Ray cluster of three nodes: ``head``, ``w1``, ``w2``."""
    cluster = Cluster(hosts)
    cluster.join("w1", "w2")
    return cluster


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The studies' home, which all hosts share."""
    return tmp_path / "studies"
