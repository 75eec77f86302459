"""Pictures of figures, and the page's script, made in processes of their own.

vl-convert keeps Python's lock while it draws, so a thread would not do; a second core does.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from study.analysis.rendering.figures.chart import Figure

_PAINTER = Path(__file__).with_name("painter.py")
_PAINTERS = 2


def prepare() -> None:
    """Begin to make what every page takes, while its study is still being read."""
    _bundling()


@cache
def vega() -> str:
    """Vega, Vega-Lite and vega-embed as one script, fit to stand in a page."""
    process = _bundling()
    script, said = process.communicate()
    _check(process, said)
    return script.replace("</script", "<\\/script")


@contextmanager
def writing(figures: Sequence[Figure], folder: Path) -> Iterator[None]:
    """Write pictures and data of ``figures`` to ``folder`` while the block runs.

    Raises:
        RuntimeError: a picture could not be drawn.
    """
    shown = [figure for figure in figures if figure.chart is not None]
    jobs = [[str(folder / f"{figure.name}.png"), figure.picture()] for figure in shown]
    jobs.sort(key=lambda job: -len(str(job[1])))  # the longest first, in turn to each painter
    painters = [_paint(share) for n in range(_PAINTERS) if (share := jobs[n::_PAINTERS])]
    try:
        for figure in shown:
            (folder / f"{figure.name}.csv").write_text(figure.csv(), encoding="utf-8")
        yield
    finally:
        ended = [(process, process.communicate()[1]) for process in painters]
    for process, said in ended:
        _check(process, said)


def _paint(jobs: Sequence[Sequence[Any]]) -> subprocess.Popen[str]:
    process = _start("pictures")
    assert process.stdin is not None
    json.dump(jobs, process.stdin)  # it reads all before it writes anything
    process.stdin.close()
    process.stdin = None  # else communicate would close it again
    return process


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


def _check(process: subprocess.Popen[str], said: str) -> None:
    if process.returncode:
        raise RuntimeError(f"charts could not be drawn:\n{said}")
