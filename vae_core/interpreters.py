"""New interpreters beside this one, which have nothing of it but its search path.

They have neither its open files and their locks, nor a main script that they would run again; fed
over their standard input, they end with it, however this process ends.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import BinaryIO

_RUN = """
import runpy, sys
_, module, *sys.path = sys.argv
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""
"""Not PYTHONPATH, which has no way to write a folder whose name holds a colon."""


def start(module: str, *, stderr: int | None = None) -> subprocess.Popen[bytes]:
    """Run ``module``, whose main calls :func:`serve`, with pipes as its input and output.

    Args:
        module: its name.
        stderr: as of :class:`subprocess.Popen`.
    """
    path = [os.path.abspath(entry) for entry in sys.path]
    return subprocess.Popen(
        [sys.executable, "-P", "-c", _RUN, module, *path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        process_group=0,  # a terminal's Ctrl-C is its parent's to handle
    )


def serve(work: Callable[[BinaryIO, BinaryIO], None]) -> None:
    """Call ``work`` with this process's input, and what takes its answers."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a scheduler's, to all of a job: likewise
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)  # what a library prints is no answer
        work(sys.stdin.buffer, answers)
