"""A Ray node as `ray start` starts it, on this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

UNSHARED = ["unshare", "--map-root-user", "--mount"]


@contextmanager
def node(
    log: Path, *options: str, within: str = "exec", environment: Mapping[str, str] | None = None
) -> Iterator[None]:
    """A Ray node, started by a shell that does something ``within`` before."""
    ray = Path(sys.executable).with_name("ray")
    # Another Ray here has the usual port of the agent.
    start = f"{ray} start --block --dashboard-agent-listen-port=0 {' '.join(options)}"
    command = ["bash", "-c", f"{within} {start}"]
    if within != "exec":
        command = [*UNSHARED, *command]
    with log.open("w") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=file, start_new_session=True, env=environment
        )
    try:
        end = time.monotonic() + 120
        while "Ray runtime started" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.2)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
