"""What the verbs that show a study print, and a dry run."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import ray
from commands import VERBS, made, on_terminal, refusal, study
from PIL import Image
from waiting import until


class TestLooking:
    def test_status(self, told):
        result = study("status", "told", "--home", told.studies)
        assert result.exit_code == 0
        assert result.stdout.startswith("told: finished; ")

    def test_show(self, told):
        result = study("show", "told", "random.search.r0.0001", "--home", told.studies)
        assert result.exit_code == 0
        for part in (
            "searched: ",
            "calibrated negative ELBO",
            "Traceback (most recent",
            "trains on e1",
        ):
            assert part in result.stdout

    def test_show_without_such_a_trial(self, told):
        text = refusal("show", "told", "random.search.r0.1", "--home", told.studies)
        assert text.startswith(
            "told: no trial 'random.search.r0.1'\n  the nearest: random.search.r0."
        )

    @pytest.mark.parametrize("port", [70000, -1])
    def test_pages_on_a_port_that_is_none(self, port):
        result = study("ui", "--port", port)
        assert result.exit_code == 2
        assert f"'--port': {port} is not in the range 0<=x<=65535" in result.stderr

    def test_report(self, told):
        full = study("report", "told", "--full", "--home", told.studies)
        assert full.exit_code == 0
        assert full.stdout.startswith("told: What does a reader see?")
        short = study("report", "told", "--home", told.studies)
        assert short.stdout.splitlines()[-1] == (
            f"all else  `study report told --home {told.studies} --full`"
        )
        for result in (full, short):
            assert "\x1b" not in result.stdout

    def test_report_of_several(self, told_spec, tell, tmp_path):
        for name, seeds in (("told", [0, 1]), ("other", [2, 3])):
            tell({**told_spec.to_dict(), "name": name, "seeds": seeds}, tmp_path)
        lines = study("report", "told", "other", "--home", tmp_path).stdout.splitlines()
        assert lines[0].startswith("Whether searching pays over 2 datasets")
        page = tmp_path / "told" / "report" / "with_other.html"
        all_else = f"`study report told other --home {tmp_path} --full`"
        assert lines[-2:] == [f"page      {page}", f"all else  {all_else}"]
        assert page.exists()

    def test_report_on_a_terminal(self, told):
        """At most twenty lines of a terminal that is 80 columns wide, its verdict in bold."""
        with on_terminal("report", "told", "--home", told.studies) as (process, screen):
            text = b"".join(screen)
            assert process.wait() == 0
        lines = text.decode().splitlines()
        assert lines[0].startswith("\x1b[1mInconclusive")
        assert len(lines) <= 20
        *prose, page, mlflow, rest = lines
        plain = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in prose]
        assert max(map(len, plain)) <= 80
        names = [line.split()[0] for line in (page, mlflow, rest)]
        assert names == ["page", "MLflow", "all"]

    def test_report_as_json(self, told):
        def no_constant(name):
            raise AssertionError(f"{name} is no JSON")

        result = study("report", "told", "--format", "json", "--home", told.studies)
        assert result.exit_code == 0
        found = json.loads(result.stdout, parse_constant=no_constant)
        assert (found["name"], found["finished"]) == ("told", True)
        assert [arm["arm"] for arm in found["arms"]] == ["random", "optimal"]

    def test_report_as_html_is_a_file(self, told):
        result = study("report", "told", "--format", "html", "--home", told.studies)
        assert (result.exit_code, result.stdout) == (0, f"{told.page}\n")
        assert "What does a reader see?" in told.page.read_text(encoding="utf-8")

    def test_a_link_among_the_figures_is_refused(self, told, tmp_path):
        study("report", "told", "--home", told.studies)
        elsewhere = tmp_path / "elsewhere"
        elsewhere.write_text("not to be written to")
        picture = told.figures / "search.png"
        picture.unlink(missing_ok=True)
        picture.symlink_to(elsewhere)
        try:
            assert "this is a link" in refusal("report", "told", "--home", told.studies)
        finally:
            picture.unlink()
        assert elsewhere.read_text() == "not to be written to"

    def test_data(self, place):
        sources = "sources: celeba, cifar10, digits, fashion_mnist, folder, mnist, parquet"
        result = study("data", "list")
        assert (result.exit_code, result.stdout) == (0, f"{sources}\n")
        assert not (place / "home").exists()
        result = study("data", "prepare", "study.yaml")
        assert result.exit_code == 0
        assert result.stdout.startswith("digits train: 1,500 images in ")
        assert result.stdout.splitlines()[-1].startswith("scikit-learn digits, ")
        assert "  digits train: 1,500 images, " in study("data", "list").stdout

    def test_what_was_done_to_the_images_is_said(self, place):
        for split in ("train", "valid", "test"):
            (place / "pictures" / split).mkdir(parents=True)
            for number in range(3):
                pixels = np.random.default_rng([len(split), ord(split[1]), number])
                colours = pixels.integers(0, 256, (4, 4, 3), np.uint8)
                Image.fromarray(colours).save(place / f"pictures/{split}/{number}.png")
        (place / "pictures" / "test" / "about.txt").write_text("")
        change = "data={name: folder, path: pictures, channels: 1}"
        result = study("data", "prepare", "study.yaml", "--set", change)
        assert result.exit_code == 0, result.output
        lines = result.stdout.splitlines()
        assert [line.partition(" in ")[0] for line in lines[:-1]] == [
            "folder train: 3 images",
            "  3 made grey",
            "folder validation: 3 images",
            "  3 made grey",
            "folder test: 3 images",
            "  3 made grey",
        ]
        assert "grey, train from train/, validation from valid/, test from test/" in lines[-1]
        assert "left out: 1 (.txt)" in lines[-1]

    def test_version_and_help(self):
        assert "0.1.0" in study("--version").stdout
        text = study("--help").stdout
        for verb in ("launch", *VERBS, "data", "ui"):
            assert f"  {verb} " in text


def test_a_dry_run_says_what_would_run_and_starts_nothing(place):
    result = study("launch", "study.yaml", "--dry-run")
    assert result.exit_code == 0
    assert result.stdout.startswith("small would run 32 trials on ")
    for part in ("8 to search", "12 to confirm", "engine(s) on ", "memory", "disk", "time about"):
        assert part in result.stdout
    assert {name.partition("/")[0] for name in made(place)} == {"data"}
    assert not ray.is_initialized()


def test_warnings_go_to_stderr_as_lines(place):
    result = study("launch", "study.yaml", "--dry-run", "--set", "seeds=[1]")
    assert result.stderr.splitlines() == [
        "warning: 1 seed can decide nothing: whatever the results, the verdict is inconclusive. "
        "Give 6 or more; 12 are the default.",
        "warning: arm 'random' makes 8 random trials, which can bound a break-even at trial 1 "
        "only: give 12 times the number to be bounded, such as 36 for 3.",
    ]


@pytest.mark.studies
def test_sigterm_ends_the_ui_and_its_server(place):
    (place / "home").mkdir()
    (place / "home" / "mlflow.db").touch()
    command = [sys.executable, "-m", "study", "ui", "--port", "0"]
    shown = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    server = None
    try:
        until(lambda: _server(shown.pid) or shown.poll() is not None, "the server")
        server = _server(shown.pid)
        assert server is not None
        time.sleep(1)  # the command has to see that its child has begun
        shown.terminate()
        assert shown.wait(60) == 0
        assert not server.exists()
    finally:
        shown.kill()
        shown.wait()
        if server is not None and server.exists():
            os.kill(int(server.name), signal.SIGKILL)


def _server(parent: int) -> Path | None:
    """The process folder of the MLflow server that ``parent`` has started."""
    for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
        if b"mlflow" in Path(f"/proc/{child}/cmdline").read_bytes():
            return Path(f"/proc/{child}")
    return None
