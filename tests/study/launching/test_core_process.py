"""The process that has the core, called as a process without torch calls it."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from study.launching.core_process import CoreProcess

CALLED = """
import os, signal, sys, time
from vae_core.errors import UserError

class Odd(UserError):
    exit_code = 1

def has_torch():
    return os.getpid(), "torch" in sys.modules, "vae_core.balancers" in sys.modules

def refuse():
    print("what a user's class prints")
    raise Odd("no good", where="arms.a", remedy="mend it")

def fail(value, by):
    return value / by

def die():
    os.kill(os.getpid(), signal.SIGSEGV)

def wait(file):
    open(file, "w").close()
    time.sleep(600)
"""
ALONE = """
import os, sys
from contextlib import closing
import called
from study.launching.core_process import CoreProcess

with closing(CoreProcess()) as core:
{}
assert "torch" not in sys.modules
"""


def run(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    """What a new process says that runs ``code`` with a :class:`CoreProcess`, ``core``."""
    (folder / "called.py").write_text(CALLED)
    script = ALONE.format(textwrap.indent(textwrap.dedent(code), "    "))
    return subprocess.run(
        [sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=False
    )


def test_torch_is_there_and_not_here(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        """
        pid, torch, balancers = core(called.has_torch)
        assert (torch, balancers) == (True, True), "it has loaded them before it was asked"
        assert pid != os.getpid()
        assert core(called.fail, 6, by=2) == 3
        assert core(called.has_torch)[0] == pid
        """,
    )
    assert done.returncode == 0, done.stderr


def test_what_is_raised_there_is_raised_here(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        """
        for job in ((called.refuse,), (called.fail, 1, 0)):
            try:
                core(*job)
            except (called.Odd, ZeroDivisionError) as error:
                print(error, getattr(error, "exit_code", ""), *getattr(error, "__notes__", []))
        """,
    )
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert said[:2] == ["arms.a: no good", "  mend it 1"]
    assert said[2] == "division by zero  raised in another process:"
    assert "    return value / by" in said
    assert "what a user's class prints" in done.stderr, "and not where answers go"


def test_one_that_dies_says_how(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        """
        try:
            core(called.die)
        except Exception as error:
            print(error.exit_code, error)
        """,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("1 a process that tries models has ended (exit code -11)\n")


def test_it_ends_with_its_maker_whatever_it_does(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        f"""
        import threading, time
        file = {str(tmp_path / "begun")!r}
        threading.Thread(target=core, args=(called.wait, file), daemon=True).start()
        while not os.path.exists(file):
            time.sleep(0.05)
        print(core._worker._process.pid)
        """,
    )
    assert done.stdout.strip().isdigit(), done.stderr
    assert not psutil.pid_exists(int(done.stdout))


def test_where_torch_is_loaded_it_is_done_here() -> None:
    pytest.importorskip("torch")
    with closing(CoreProcess()) as core:
        assert core(os.getpid) == os.getpid()
