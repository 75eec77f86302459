"""The command ``study`` in this process, and a study to give it."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from own_models import MODELS

from study.cli import main

STUDY = """\
name: small
data: digits
model: {name: mlp, latent: 8, width: 16}
training:
  epochs: 1
  reports: 2
arms:
  random:
    balancer: fixed_beta
    search:
      space:
        beta: {low: 1e-3, high: 10, log: true}
      trials: 8
  learned:
    balancer: learned_sigma
"""

OWN = (
    MODELS
    + '''
import numpy as np
from study.launching.driver import StudyInterruptedError
from vae_core.balancers import Balance, Balancer
from vae_core.data import Source

class Halves(Balancer):
    name = "halves"
    hand_tuned = False
    hyperparameters = {}
    def balance(self, terms, state, learned, hyper):
        half = torch.full(terms.kl.shape[:1], 0.5)
        return Balance(half.log(), torch.ones_like(half))

class Mixing(Halves):
    name = "mixing"
    def balance(self, terms, state, learned, hyper):
        ones = torch.ones(terms.kl.shape[:1])
        return Balance(ones * terms.squared_error.mean().log(), ones)

class Noise(Source):
    """Images of random bytes."""
    def describe(self, root):
        return "noise"
    def read(self, split, root):
        rng = np.random.default_rng(split == "test")
        yield rng.integers(0, 256, (200, 1, 4, 4), np.uint8), np.zeros(200, np.int64)

class Wrong(Noise):
    sha256 = {"test": "0" * 64}

class CutShort(Noise):
    def read(self, split, root):
        yield from super().read(split, root)
        if split == "test":
            raise KeyboardInterrupt

class Interrupted(CutShort):
    def read(self, split, root):
        raise StudyInterruptedError
        yield
'''
)


def study(*arguments: object) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@contextmanager
def on_terminal(
    *arguments: object, columns: int = 80
) -> Iterator[tuple[subprocess.Popen[bytes], Iterator[bytes]]]:
    """Run the command in a process of its own, on a terminal of 24 lines.

    Yields:
        The process, and what it writes there, until its end.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {**os.environ, "TERM": "xterm"}
    environment.pop("COLUMNS", None)
    command = [sys.executable, "-m", "study", *map(str, arguments)]
    with subprocess.Popen(command, stdout=theirs, env=environment) as process:
        os.close(theirs)
        try:
            yield process, _written(ours)
        finally:
            process.kill()
            os.close(ours)


def _written(terminal: int) -> Iterator[bytes]:
    with suppress(OSError):  # the other end is closed once the process has ended
        while chunk := os.read(terminal, 4096):
            yield chunk


def refusal(*arguments: object) -> str:
    """What the command says when it refuses: exit code 2, one error, nothing else."""
    result = study(*arguments)
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    assert result.stdout == ""
    text = "".join(f"{line}\n" for line in said(result))
    assert text.startswith("error: "), text
    assert text.count("error: ") == 1
    return text.removeprefix("error: ")


def said(result: Result) -> list[str]:
    """The lines on stderr, without warnings and what a launch says that it does."""
    lines = result.stderr.splitlines()
    return [line for line in lines if not line.startswith("warning: ") and line[-4:] != " ..."]


def made(place: Path) -> list[str]:
    """What is in the studies' home, locks of the image store aside."""
    paths = (place / "home").rglob("*") if (place / "home").exists() else []
    return sorted(str(p.relative_to(place / "home")) for p in paths if p.suffix != ".lock")


VERBS = ["status", "report", "resume", "show", "fork", "stop", "retry", "clean", "verify"]
WITH_ANOTHER_NAME = ["show", "fork", "retry"]
LAUNCH = pytest.param(["launch"], marks=pytest.mark.studies)
"""A launch that gets as far as starting Ray; a dry run prepares the same and does not."""
BY_LAUNCH = pytest.param([], marks=pytest.mark.studies)
"""Likewise, as the options after ``launch``."""
