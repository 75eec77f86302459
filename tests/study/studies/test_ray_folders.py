"""A local Ray where its files cannot be where it would have them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

LAUNCH = """
import sys
from contextlib import ExitStack
from pathlib import Path
import ray
from study.launching.ray_cluster import ray_up
from study.spec import load_spec

@ray.remote
def answer():
    return 42

with ExitStack() as stack:
    ray_up(None, load_spec("quickstart"), stack)
    assert ray.get(answer.remote()) == 42
    session = Path(ray._private.worker._global_node.get_session_dir_path())
print(session)
"""


def test_a_home_that_is_read_only_and_a_long_folder_for_temporary_files(tmp_path: Path) -> None:
    temporary = tmp_path / ("x" * 100)
    temporary.mkdir()
    names = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_TMPDIR")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    environment |= {"HOME": "/proc", "TMPDIR": str(temporary)}  # nobody may write in /proc
    done = subprocess.run(
        [sys.executable, "-c", LAUNCH],
        env=environment,
        check=True,
        timeout=180,
        capture_output=True,
        text=True,
    )
    session = Path(done.stdout.splitlines()[-1])
    assert session.is_relative_to("/tmp")
    assert not session.parent.exists()
    assert list(temporary.iterdir()) == []
