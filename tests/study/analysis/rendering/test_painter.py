from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from fcntl import F_GETPIPE_SZ, fcntl, ioctl
from pathlib import Path
from termios import FIONREAD
from typing import IO, Any

import numpy as np
import pytest
import vl_convert
from PIL import Image

from study.analysis.answers.report import build_report
from study.analysis.records.tables import build_tables
from study.analysis.rendering.figures import drawing, painter
from study.analysis.rendering.figures.catalogue import figures
from study.analysis.rendering.figures.chart import Figure
from study.analysis.rendering.figures.painter import clipped_once, slim

TEXT = re.compile(r"<text[^>]*>([^<]+)</text>")
INTERRUPTED = """
import runpy, signal, sys
signal.signal(signal.SIGALRM, lambda *_: None)
signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
sys.argv = [sys.argv[1], "pictures"]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""A painter at which signals arrive all the time."""


@pytest.fixture
def drawn(whole: Any, tmp_path: Path) -> dict[str, Figure]:
    tables = build_tables(whole.entries)
    made = figures(build_report(tables), tables, tmp_path)
    return {figure.name: figure for figure in made if figure.chart is not None}


def waiting(pipe: IO[bytes]) -> int:
    """Bytes in it."""
    return int.from_bytes(ioctl(pipe, FIONREAD, bytes(4)), sys.byteorder)


def pixels(svg: str) -> np.ndarray:
    with Image.open(io.BytesIO(vl_convert.svg_to_png(svg, scale=1.5))) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def test_a_picture_clipped_once_is_the_picture(drawn: dict[str, Figure]) -> None:
    for name, figure in drawn.items():
        svg = vl_convert.vegalite_to_svg(figure.picture())
        once = clipped_once(svg)
        assert once.count("clip-path=") <= svg.count("clip-path="), name
        # Translucent colours are rounded once a layer.
        assert abs(pixels(once) - pixels(svg)).max() <= 16, name


def test_the_curves_of_all_arms_are_clipped_together(drawn: dict[str, Figure]) -> None:
    svg = vl_convert.vegalite_to_svg(drawn["learning"].picture())
    assert svg.count("clip-path=") > 2
    assert clipped_once(svg).count("clip-path=") == 1


def test_what_is_clipped_otherwise_or_not_at_all_stays_as_it_is() -> None:
    mark = '<rect x="{}" width="9" height="9" clip-path="url(#{})"/>'
    bare = '<rect x="3" width="1" height="1"/>'
    marks = mark.format(1, "a") + mark.format(2, "b") + bare + mark.format(4, "c")
    clips = "".join(
        f'<clipPath id="{name}"><rect width="{width}" height="5"/></clipPath>'
        for name, width in (("a", 4), ("b", 4), ("c", 6))
    )
    head = '<svg xmlns="http://www.w3.org/2000/svg" width="12" height="9">'
    moved = f'<g transform="translate(0,2)">{marks}</g><g>{mark.format(7, "c")}</g>'
    svg = f"{head}<defs>{clips}</defs><g>{moved}</g></svg>"
    once = clipped_once(svg)
    assert once.count("clip-path=") == 3
    assert (pixels(once) == pixels(svg)).all()


def test_answers_are_whole_though_the_pipe_is_full_and_signals_come(tmp_path: Path) -> None:
    values = [{"x": x, "y": x % 7} for x in range(2000)]
    encoding = {axis: {"field": axis, "type": "quantitative"} for axis in ("x", "y")}
    spec = {"data": {"values": values}, "mark": "bar", "encoding": encoding}
    jobs = [[str(tmp_path / f"{n}.png"), spec, spec, f"c{n}"] for n in range(2)]
    with subprocess.Popen(
        [sys.executable, "-P", "-c", INTERRUPTED, painter.__file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as process:
        assert process.stdin is not None
        process.stdin.write(json.dumps(jobs).encode())
        process.stdin.close()
        assert process.stdout is not None
        while waiting(process.stdout) < fcntl(process.stdout, F_GETPIPE_SZ):
            assert process.poll() is None
            time.sleep(0.02)
        time.sleep(0.1)  # amid an answer, and some signals come
        answers = [json.loads(line) for line in process.stdout]
    assert [answer[0] for answer in answers] == [job[0] for job in jobs]
    assert all(svg.endswith("</svg>") and not why for _, svg, why in answers)


def test_what_a_slim_picture_says_is_what_it_said(drawn: dict[str, Figure]) -> None:
    """Lengths are rounded, not numbers: the ticks of a logarithmic axis of beta begin at 0.001."""
    values = [{"beta": 10.0**power} for power in range(-4, 2)]
    beta = {
        "data": {"values": values},
        "mark": "point",
        "encoding": {"x": {"field": "beta", "type": "quantitative", "scale": {"type": "log"}}},
    }
    for spec in (beta, *(figure.inline() for figure in drawn.values())):
        svg = vl_convert.vegalite_to_svg(spec)
        assert TEXT.findall(slim(svg, "c")) == TEXT.findall(svg)
    assert "0.001" in TEXT.findall(slim(vl_convert.vegalite_to_svg(beta), "c"))


def test_what_ends_a_terminals_command_does_not_end_its_painters() -> None:
    with drawing.prepared():
        for painting in drawing._waiting:
            assert os.getpgid(painting.pid) != os.getpgid(0)  # a Ctrl-C is for the whole group


def test_a_painter_outlives_a_schedulers_first_signal(tmp_path: Path) -> None:
    command = [sys.executable, "-P", painter.__file__, "pictures"]
    spec = {"data": {"values": []}, "mark": "point"}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as painting:
        ready = Path(f"/proc/{painting.pid}/status")
        while not ignores(signal.SIGTERM, ready.read_text()):
            time.sleep(0.02)
        painting.terminate()
        out, _ = painting.communicate(
            json.dumps([[str(tmp_path / "p.png"), spec, spec, "c"]]).encode()
        )
    assert json.loads(out)[2] == ""


def ignores(number: int, status: str) -> bool:
    """Whether a process of that status ignores a signal."""
    mask = next(line.split()[1] for line in status.splitlines() if line.startswith("SigIgn"))
    return bool(int(mask, 16) >> (number - 1) & 1)
