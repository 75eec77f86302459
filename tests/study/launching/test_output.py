"""What a launch prints goes nowhere once nobody reads it, and raises nothing."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from rich.console import Console

from study.launching.output import lasting_output


def test_a_broken_pipe_raises_nothing_not_even_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    pipe = os.fdopen(writer, "w", buffering=1)
    monkeypatch.setattr(sys, "stderr", pipe)
    with lasting_output():
        print("lost", file=sys.stderr, flush=True)
        Console(file=sys.stderr).print("lost, too")
    sys.stderr.flush()  # as Python does at its exit
    with pytest.raises(BrokenPipeError):
        pipe.close()


def test_what_is_read_is_printed_and_the_stream_is_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "log").open("w") as log:
        monkeypatch.setattr(sys, "stdout", log)
        monkeypatch.setattr(sys, "stderr", None)  # as where it is closed
        with lasting_output():
            print("said")
        assert sys.stdout is log
    assert (tmp_path / "log").read_text() == "said\n"
