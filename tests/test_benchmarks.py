"""The benchmarks' commands run and print their tables; what they measure is not judged here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.baselines.models import plain_model
from benchmarks.baselines.works import WORKS, Work
from study.spec import StudySpec
from vae_core.data import Dataset, prepare
from vae_core.models import build

ROOT = Path(__file__).parent.parent


def toy(module: str, *options: str) -> subprocess.CompletedProcess[str]:
    """The result of ``python -m module --toy``."""
    done = subprocess.run(
        [sys.executable, "-m", module, "--toy", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return done


def table_of(module: str) -> list[list[str]]:
    """Rows of the tables ``python -m module --toy`` prints, as cells."""
    return cells(toy(module).stdout)


def cells(output: str) -> list[list[str]]:
    lines = [line for line in output.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.mark.studies
def test_the_bank_is_timed_beside_a_loop_and_beside_itself() -> None:
    rows = table_of("benchmarks.bank")
    names = [row[0] for row in rows]
    cases = [(name.split()[0], name.split()[-1]) for name in names[2:8]]
    assert cases == [
        (case, precision)
        for case in ("digits", "28x28", "28x28")
        for precision in ("float32", "bfloat16")
    ]
    assert names[10:] == ["K = 2", "K = 4", "K = 8", "K = 16"]
    judged = {row[0]: row[-1].split()[:2] for row in rows if row[-1].startswith(">=")}
    assert [judged[name] for name in names[2:8]] == [[">=", "1.0"]] * 6
    assert judged["K = 8"] == [">=", "1.5"]


@pytest.mark.studies
def test_the_families_print_a_row_for_each_bank() -> None:
    rows = table_of("benchmarks.families")
    assert [row[0].rpartition(", ")[2] for row in rows[2:]] == ["K = 16", "K = 8"]
    assert all(">= 0.85" in row[-1] for row in rows[2:])


@pytest.mark.studies
def test_the_evaluation_of_a_confirm_run_is_timed_beside_one_with_a_single_draw() -> None:
    rows = table_of("benchmarks.evaluation")
    assert rows[0][1:3] == ["seconds, 40 draws", "seconds, 1 draw"]
    for row in rows[2:]:
        assert float(row[3]) > 0
        assert row[-1].split()[:2] == ["<=", "1.5"]


@pytest.mark.studies
def test_every_trial_of_the_overhead_study_ends() -> None:
    trials, reports, slots, seconds, _ = table_of("benchmarks.tune_overhead")[-1]
    assert (trials, reports, slots) == ("8", "10", "2")
    assert float(seconds) > 0


def test_members_on_one_device_are_timed_beside_a_loop() -> None:
    rows = table_of("benchmarks.gpu")[2:]
    assert [row[1:3] for row in rows] == [[p, k] for p in ("float32", "bfloat16") for k in "14"]
    assert [row[-1].split()[:2] for row in rows] == [[], [">=", "10"]] * 2


@pytest.mark.studies
@pytest.mark.slow
def test_a_study_on_a_cluster_is_launched_and_resumed() -> None:
    rows = {row[0]: row[1:] for row in table_of("benchmarks.scale")}
    assert rows["trials that MLflow holds at the end"][0] == "16 of 16"
    for judged in (
        "trials/s",
        "driver's MiB at the peak",
        "seconds of a report",
        "seconds to resume",
    ):
        measured, target = rows[judged]
        assert float(measured) > 0
        assert target.split()[-1] in {"met", "MISSED"}


@pytest.mark.studies
def test_a_made_up_study_is_reported_whole_and_the_report_is_measured() -> None:
    rows = {name: (measured, target) for name, measured, _, target in table_of("benchmarks.report")}
    for judged in ("seconds", "MiB at the peak", "MiB of its page"):
        measured, target = rows[judged]
        assert float(measured) > 0
        assert target.startswith("<=")
    assert float(rows["MiB of journal"][0]) > 0


@pytest.mark.slow
def test_a_page_is_opened_beside_another_revision_s() -> None:
    rows = {row[0]: row[1:] for row in table_of("benchmarks.page")}
    for judged in ("ms until all is drawn", "KiB"):
        ours, theirs, *_, target = rows[judged]
        assert float(ours.replace(",", "")) > 0
        assert float(theirs.replace(",", "")) > 0
        assert target.split()[-1] in {"met", "MISSED"}


def counts(model) -> list[int]:
    return sorted(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("work", WORKS.values(), ids=list(WORKS))
def test_a_study_and_its_baselines_train_the_same(work: Work) -> None:
    spec = StudySpec.from_dict(work.study())
    assert counts(plain_model(work.model, work.shape)) == counts(
        build(spec.model.settings, work.shape)
    )
    search = spec.arms["random-beta"].search
    assert search.trials + len(spec.seeds) == work.trials == len(work.betas())
    assert work.validation <= spec.evaluation.images


def test_a_baseline_sees_the_images_of_a_study(tmp_path: Path) -> None:
    work = WORKS["digits"]
    settings = StudySpec.from_dict(work.study()).data
    data = Dataset.open(prepare(settings.settings, tmp_path), settings.validation)
    for split, images in zip((data.train, data.validation), work.images(tmp_path), strict=True):
        assert np.array_equal(split.pixels[split.index], images.reshape(len(images), -1))
    assert len(data.train) % work.batch_size == 0


def test_the_loop_makes_every_report() -> None:
    done = json.loads(toy("benchmarks.baselines.loop").stdout)
    assert (done["trials"], done["reports"]) == (4, 4)
    assert done["best"] > 0


@pytest.mark.data
def test_the_loop_reads_fashion_mnist() -> None:
    if "STUDY_DATA_ROOT" not in os.environ:
        pytest.skip("STUDY_DATA_ROOT does not name the folder of the real datasets")
    root = ("--data-root", os.environ["STUDY_DATA_ROOT"])
    done = json.loads(toy("benchmarks.baselines.loop", "--work", "fashion-mlp", *root).stdout)
    assert (done["trials"], done["reports"]) == (4, 4)


@pytest.mark.slow
def test_whole_studies_are_timed_beside_what_one_would_write() -> None:
    done = toy("benchmarks.studies")
    names = [row[0] for row in cells(done.stdout)][2:]
    left_out = "pythae is left out" in done.stderr
    assert names == ["study launch", "loop", *([] if left_out else ["pythae"]), "stock"]
