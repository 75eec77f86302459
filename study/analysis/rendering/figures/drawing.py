"""Pictures of figures, and the page's script, made in separate processes.

vl-convert holds Python's global lock while it draws: threads would not run in parallel.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from study.analysis.rendering.figures.chart import Figure

_PAINTER = Path(__file__).with_name("painter.py")
_PAINTERS = 2
_LONGEST = 300
"""Characters of an error at most: Vega's hold whole stack traces."""


_waiting: list[subprocess.Popen[str]] = []
"""Processes that will draw, and have nothing to draw yet."""


@contextmanager
def prepared() -> Iterator[None]:
    """A block that ends with a report: what every report needs is begun while it is made."""
    if _kept() is None:
        _bundling()
    _waiting.extend(_start("pictures") for _ in range(_PAINTERS))
    try:
        yield
    finally:
        while _waiting:  # nothing was drawn
            with _waiting.pop() as unused:
                unused.kill()


@cache
def vega() -> str:
    """Vega, Vega-Lite and vega-embed as one script.

    It takes seconds to make, and is kept among the user's caches for all studies.

    Raises:
        RuntimeError: vl-convert could not make it.
    """
    if (kept := _kept()) is not None:
        return kept
    process = _bundling()
    script, errors = process.communicate()
    if process.returncode:
        raise RuntimeError(f"the page's script could not be made:\n{errors}")
    _keep(script)
    return script


def _cached() -> Path:
    """The file of this vl-convert's script, below ``$XDG_CACHE_HOME`` or ``~/.cache``.

    Raises:
        RuntimeError: the user has no home.
    """
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    folder = given if given.is_absolute() else Path.home() / ".cache"
    return folder / "study" / f"vega-{version('vl-convert-python')}.js"


def _kept() -> str | None:
    """The kept script; None: there is none, or it is damaged."""
    try:
        digest, _, script = _cached().read_bytes().partition(b"\n")
    except (OSError, RuntimeError):
        return None
    return script.decode() if sha256(script).hexdigest().encode() == digest else None


def _keep(script: str) -> None:
    with suppress(OSError, RuntimeError):  # a full disk, a home that is read-only: made again then
        file, content = _cached(), script.encode()
        file.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=file.parent) as folder:  # two reports may be written at once
            whole = Path(folder, file.name)
            whole.write_bytes(b"%s\n%s" % (sha256(content).hexdigest().encode(), content))
            whole.replace(file)


@dataclass(frozen=True)
class Drawn:
    """What became of figures, by their names.

    Attributes:
        svg: Each as it is embedded in a page.
        missing: Why a figure has neither that nor a picture file.
    """

    svg: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


@contextmanager
def writing(figures: Sequence[Figure], folder: Path) -> Iterator[Drawn]:
    """Write pictures and data of ``figures`` to ``folder`` while the block runs.

    Yields:
        What is filled when the block ends.
    """
    shown = [figure for figure in figures if figure.chart is not None]
    jobs = [
        _Job(figure.name, figure.picture(), figure.inline(), prefix=f"c{number}")
        for number, figure in enumerate(shown)
    ]
    jobs.sort(key=lambda job: -len(str(job.spec)))  # the longest first, in turn to each painter
    painters = [_Painter(share, folder) for n in range(_PAINTERS) if (share := jobs[n::_PAINTERS])]
    drawn = Drawn()
    try:
        for figure in shown:
            (folder / f"{figure.name}.csv").write_text(figure.csv(), encoding="utf-8")
        yield drawn
    finally:
        for painter in painters:
            painter.finish(drawn)


class _Job(NamedTuple):
    name: str
    spec: dict[str, Any]
    inline: dict[str, Any]
    prefix: str
    """Of its ids: a page has several charts."""


class _Painter:
    """A process that draws pictures into a folder, one after the other."""

    def __init__(self, jobs: Sequence[_Job], folder: Path) -> None:
        self._files = {job.name: folder / f"{job.name}.png" for job in jobs}
        self._process = _waiting.pop() if _waiting else _start("pictures")
        stdin = self._process.stdin
        assert stdin is not None
        with suppress(BrokenPipeError):  # the process died: finish() says why
            json.dump([(str(self._files[job.name]), *job[1:]) for job in jobs], stdin)
        with suppress(BrokenPipeError):
            stdin.close()
        self._process.stdin = None  # else communicate would close it again

    def finish(self, drawn: Drawn) -> None:
        """Wait until it ends, and say what was drawn. Earlier pictures of the rest are removed."""
        output, errors = self._process.communicate()
        lines = (line for line in output.splitlines(keepends=True) if line.endswith("\n"))
        said = {file: (svg, error) for file, svg, error in map(json.loads, lines)}
        died = f"the drawing process ended with status {self._process.returncode}: {errors}"
        for name, file in self._files.items():
            svg, error = said.get(str(file), ("", died))
            if svg:
                drawn.svg[name] = svg
                continue
            drawn.missing[name] = textwrap.shorten(error, _LONGEST, placeholder=" ...")
            with suppress(OSError):
                file.unlink()


@cache
def _bundling() -> subprocess.Popen[str]:
    return _start("bundle")


def _start(what: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-P", str(_PAINTER), what],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        process_group=0,  # a terminal's Ctrl-C is its parent's to handle
        text=True,
        encoding="utf-8",
    )
