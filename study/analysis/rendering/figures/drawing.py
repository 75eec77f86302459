"""Pictures of figures, and the page's script, made in separate processes.

vl-convert holds Python's global lock while it draws: threads would not run in parallel.
"""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from study.analysis.rendering.figures.chart import Figure

_PAINTER = Path(__file__).with_name("painter.py")
_PAINTERS = 2
_LONGEST = 300
"""Characters of an error at most: Vega's hold whole stack traces."""


def prepare() -> None:
    """Start making what every page needs, while its study is still being read."""
    _bundling()


@cache
def vega() -> str:
    """Vega, Vega-Lite and vega-embed as one script, safe to embed in a page.

    Raises:
        RuntimeError: vl-convert could not make it.
    """
    process = _bundling()
    script, errors = process.communicate()
    if process.returncode:
        raise RuntimeError(f"the page's script could not be made:\n{errors}")
    return script.replace("</script", "<\\/script")


@contextmanager
def writing(figures: Sequence[Figure], folder: Path) -> Iterator[dict[str, str]]:
    """Write pictures and data of ``figures`` to ``folder`` while the block runs.

    Yields:
        A mapping that is filled when the block ends: name of a figure -> why its picture could
        not be drawn.
    """
    shown = [figure for figure in figures if figure.chart is not None]
    jobs = [(figure.name, figure.picture()) for figure in shown]
    jobs.sort(key=lambda job: -len(str(job[1])))  # the longest first, in turn to each painter
    painters = [_Painter(share, folder) for n in range(_PAINTERS) if (share := jobs[n::_PAINTERS])]
    missing: dict[str, str] = {}
    try:
        for figure in shown:
            (folder / f"{figure.name}.csv").write_text(figure.csv(), encoding="utf-8")
        yield missing
    finally:
        for painter in painters:
            missing.update(painter.finish())


class _Painter:
    """A process that draws pictures into a folder, one after the other."""

    def __init__(self, jobs: Sequence[tuple[str, Mapping[str, Any]]], folder: Path) -> None:
        self._files = {name: folder / f"{name}.png" for name, _ in jobs}
        self._process = _start("pictures")
        stdin = self._process.stdin
        assert stdin is not None
        with suppress(BrokenPipeError):  # the process died: finish() says why
            json.dump([(str(self._files[name]), spec) for name, spec in jobs], stdin)
        with suppress(BrokenPipeError):
            stdin.close()
        self._process.stdin = None  # else communicate would close it again

    def finish(self) -> dict[str, str]:
        """Wait until it ends; name -> why its picture is missing. An earlier picture is removed."""
        output, errors = self._process.communicate()
        lines = (line for line in output.splitlines(keepends=True) if line.endswith("\n"))
        drawn: dict[str, str] = dict(map(json.loads, lines))
        died = f"the drawing process ended with status {self._process.returncode}: {errors}"
        missing = {}
        for name, file in self._files.items():
            if error := drawn.get(str(file), died):
                missing[name] = textwrap.shorten(error, _LONGEST, placeholder=" ...")
                with suppress(OSError):
                    file.unlink()
        return missing


@cache
def _bundling() -> subprocess.Popen[str]:
    return _start("bundle")


def _start(what: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-P", str(_PAINTER), what],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
