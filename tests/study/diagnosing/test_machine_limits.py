"""What the system lets a process have, in its own words; and paths that sockets may have."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from study.diagnosing.limits import SOCKET_PATH, ray_folder, socket_path, usable_memory

GIB = 2**30


@pytest.fixture
def system(tmp_path: Path) -> Path:
    """A machine of 8 GiB, whose process is in a group of either version."""
    (tmp_path / "self").mkdir()
    (tmp_path / "meminfo").write_text(f"MemTotal:       {8 * GIB // 1024} kB\nMemFree: 1 kB\n")
    return tmp_path


def limit(system: Path, file: str, text: object) -> None:
    path = system / "cgroup" / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n")


def usable(system: Path, groups: str) -> int:
    (system / "self/cgroup").write_text(groups)
    return usable_memory(system, system / "cgroup")


def test_without_a_limit_all_memory_may_be_used(system: Path) -> None:
    assert usable_memory(system, system / "cgroup") == 8 * GIB
    limit(system, "job/memory.max", "max")
    limit(system, "memory/memory.limit_in_bytes", 2**63 - 4096)  # version 1's word for none
    assert usable(system, "4:memory:/\n0::/job\n") == 8 * GIB


def test_the_least_limit_along_the_path_counts(system: Path) -> None:
    limit(system, "slice/job/step/memory.max", "max")
    limit(system, "slice/job/memory.max", 3 * GIB)
    limit(system, "slice/memory.max", 5 * GIB)
    limit(system, "other/memory.max", GIB)
    assert usable(system, "0::/slice/job/step\n") == 3 * GIB


def test_version_1_has_the_memory_groups_in_a_folder_of_their_own(system: Path) -> None:
    limit(system, "memory/job/memory.limit_in_bytes", 2 * GIB)
    limit(system, "cpu/job/memory.limit_in_bytes", GIB)
    assert usable(system, "5:cpu,cpuacct:/job\n4:hugetlb,memory:/job\n0::/\n") == 2 * GIB
    # In a container the path is the host's, and its own group is at the root.
    limit(system, "memory/memory.limit_in_bytes", 1 * GIB)
    assert usable(system, "4:memory:/docker/7a0c\n") == 1 * GIB


def test_this_process_may_use_some() -> None:
    assert 2**27 < usable_memory() < 2**50


def test_the_system_takes_paths_of_sockets_up_to_the_limit(tmp_path: Path) -> None:
    room = SOCKET_PATH - len(str(tmp_path)) - 1
    with socket.socket(socket.AF_UNIX) as one, socket.socket(socket.AF_UNIX) as other:
        one.bind(str(tmp_path / ("s" * room)))
        with pytest.raises(OSError, match="too long"):
            other.bind(str(tmp_path / ("s" * (room + 1))))


def test_the_folder_is_the_one_that_ray_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray._common.utils import get_default_system_temp_dir

    for name in ("RAY_TMPDIR", "TMPDIR"):
        monkeypatch.delenv(name, raising=False)
    for name, folder in ((None, "/tmp"), ("TMPDIR", "/some"), ("RAY_TMPDIR", "/other")):
        if name:
            monkeypatch.setenv(name, folder)
        assert str(ray_folder()) == folder == get_default_system_temp_dir()
    assert socket_path(Path("/tmp")) < SOCKET_PATH < socket_path(Path("/tmp", "x" * 60))
