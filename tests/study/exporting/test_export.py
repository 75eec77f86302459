"""A study's best models as folders and in MLflow: the trial's own, usable without the platform."""

from __future__ import annotations

import copy
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import harness
import pytest
import torch
from click.testing import CliRunner, Result
from own_models import MODELS

import study
from study.cli import main
from study.exporting.model import refitted_variance
from study.journal import StudyHome
from study.journal.events import StudyDescribed
from study.spec import EvaluationSpec
from vae_core.data import Dataset, prepare
from vae_core.errors import UserError
from vae_core.evaluation import EvaluationSet, fitted_variance, measure, reconstructions
from vae_core.export import load

TINY: dict[str, Any] = {
    **{key: copy.deepcopy(harness.SPEC[key]) for key in ("data", "engines")},
    "name": "tiny",
    "model": {"name": "exported_models:Plain", "latent": 3},
    "training": {"epochs": 2, "batch_size": 64, "lr": 3e-3, "reports": 2},
    "seeds": [0, 1],
    "evaluation": {
        "images": 200,
        "pictures": 0,
        "generators": ["prior", "second_stage"],
        "second_stage": {"width": 16, "epochs": 2, "batch_size": 50},
    },
    "arms": {
        "optimal": {"balancer": "optimal_sigma"},
    },
}


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The studies' home of a study of a model of a user's own, with second stages."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "exported_models.py").write_text(MODELS)

    harness.finish(folder / "studies", spec=TINY, environment={"PYTHONPATH": str(folder)})
    return folder / "studies"


@pytest.fixture
def small(reference: Path, tmp_path: Path) -> StudyHome:
    """The reference study in a home that may be changed."""
    shutil.copytree(reference / harness.NAME, tmp_path / "studies" / harness.NAME)
    return StudyHome(tmp_path / "studies", harness.NAME)


def export(home: Path, arm: str, folder: Path, name: str = harness.NAME) -> Result:
    return CliRunner().invoke(main, ["export", name, arm, str(folder), "--home", str(home)])


def best(home: Path, arm: str, name: str = harness.NAME) -> dict[str, Any]:
    """The row of the arm's best standing confirm run."""
    rows = study.load(name, home=home, arrow=True)["trials"].to_pylist()
    standing = [
        row
        for row in rows
        if row["arm"] == arm and row["phase"] == "confirm" and row["chosen"]
        if row["state"] == "complete"
    ]
    return min(standing, key=lambda row: row["validation_calibrated_negative_elbo"])


@pytest.mark.parametrize("arm", ["random", "optimal"])
def test_the_folder_holds_the_arms_best_model_and_it_measures_as_recorded(
    arm: str, reference: Path, tmp_path: Path
) -> None:
    result = export(reference, arm, tmp_path / "model")
    assert result.exit_code == 0, result.output
    row = best(reference, arm)
    record = json.loads((tmp_path / "model" / "model.json").read_text())["record"]
    assert record["trial"] == row["trial"]
    assert record["cost"]["images"] == row["images"]
    assert row["trial"] in result.output

    trial = StudyHome(reference, harness.NAME).trial(row["trial"])
    saved = torch.load(trial / "model.pt", weights_only=True)
    model = load(tmp_path / "model")
    assert all(torch.equal(value, saved[key]) for key, value in model.vae.state_dict().items())

    prepared = prepare({"name": "digits"}, reference / "data")
    data = Dataset.open(prepared, 220)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as engines have it: more of them add up in another order
    try:
        train = EvaluationSet(data.train, "train", count=200, shape=data.shape)
        test = EvaluationSet(data.test, "test", count=len(data.test), shape=data.shape)
        fitted = measure(model.vae, train.batches(model.latent))
        draws = EvaluationSpec().draws_of(len(test))
        measured = measure(model.vae, test.drawn(model.latent, row["seed"], draws))
        x = next(test.batches(model.latent)).x[:4]
        picture = io.BytesIO()
        reconstructions(model.vae, x).save(picture, format="png")
        with torch.no_grad():
            expected = model.vae.decode(model.vae.encode(x)[0])
        assert torch.equal(model.reconstruct(x), expected)
    finally:
        torch.set_num_threads(threads)
    assert picture.getvalue() == (trial / "reconstructions.png").read_bytes()
    assert row["test_S"] == measured.S
    assert row["test_R"] == measured.R
    assert model.sigma2 == pytest.approx(fitted_variance(fitted, 64), rel=1e-9)


def test_the_three_lines_that_are_printed_work(reference: Path, tmp_path: Path) -> None:
    result = export(reference, "tpe", tmp_path / "model")
    lines = result.output.strip().splitlines()[-3:]
    images = "import torch; images = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)"
    program = "\n".join([images, *lines, "print(tuple(x.shape), tuple(new.shape))"])
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.stdout == "(2, 1, 8, 8) (16, 1, 8, 8)\n", done.stderr


def test_the_card_says_what_it_is_made_of_and_what_it_cost(reference: Path, tmp_path: Path) -> None:
    done = study.export(harness.NAME, "random", tmp_path / "model", home=reference)
    row = best(reference, "random")
    searched = [
        r["images"]
        for r in study.load(harness.NAME, home=reference, arrow=True)["trials"].to_pylist()
        if r["arm"] == "random" and r["phase"] == "search"
    ]
    card = (done.folder / "README.md").read_text()
    described, *_ = harness.events(reference, StudyDescribed)
    for sha256 in described.data["sha256"].values():
        assert sha256 in card
    assert f"| one search of its arm | {sum(searched):,} |" in card
    score = f"{row['test_calibrated_negative_elbo']:.6g}"
    assert f"| calibrated_negative_elbo | {score} | calibrated negative ELBO, nats" in card
    assert f'"beta": {json.loads(row["params"])["beta"]}' in card
    assert json.loads(row["numerics_key"])["torch"] in card
    assert str(tmp_path) not in card
    for file in done.folder.iterdir():
        assert file.stat().st_mode & 0o044, "others may read it as they may any file made here"


USE = """
import sys, torch
torch.set_num_threads(1)  # another number of them adds up in another order
{load}
images = torch.load(sys.argv[2])
z = model.encode(images)
found = [z, model.decode(z), model.reconstruct(images)]
found += [model.sample(5, seed=3, generator=each) for each in model.generators]
torch.save(found, sys.argv[3])
assert not {{"ray", "optuna", "study"}} & {{name.partition(".")[0] for name in sys.modules}}
"""
FROM_MLFLOW = "import mlflow.pytorch; model = mlflow.pytorch.load_model(sys.argv[1])"
FROM_FOLDER = "from vae_core.export import load; model = load(sys.argv[1], trust=True)"


@pytest.mark.studies
@pytest.mark.parametrize("which", ["built in", "own"])
def test_mlflows_registered_model_is_the_same_to_the_last_bit(
    which: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if which == "built in":
        home, name = request.getfixturevalue("reference"), harness.NAME
    else:
        home, name = request.getfixturevalue("own"), "tiny"
        monkeypatch.setenv("PYTHONPATH", str(home.parent))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{home / 'mlflow.db'}")
    study.export(name, "optimal", tmp_path / "model", home=home)
    torch.save(torch.rand(5, 1, 8, 8), tmp_path / "images.pt")

    def used(load: str, where: str) -> list[torch.Tensor]:
        files = [str(tmp_path / "images.pt"), str(tmp_path / "found.pt")]
        command = [sys.executable, "-c", USE.format(load=load), where, *files]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        found: list[torch.Tensor] = torch.load(files[1])
        return found

    registered = used(FROM_MLFLOW, f"models:/{name}.optimal@best")
    exported = used(FROM_FOLDER, str(tmp_path / "model"))
    assert len(registered) == len(exported) == (5 if which == "own" else 4)
    assert all(torch.equal(a, b) for a, b in zip(registered, exported, strict=True))


def test_mlflows_model_brings_the_folder_that_runs_no_code(reference: Path, tmp_path: Path) -> None:
    from mlflow import MlflowClient, artifacts

    uri = f"sqlite:///{reference / 'mlflow.db'}"
    version = MlflowClient(uri).get_model_version_by_alias(f"{harness.NAME}.tpe", "best")
    files = Path(artifacts.download_artifacts(version.source, dst_path=str(tmp_path)))
    study.export(harness.NAME, "tpe", tmp_path / "exported", home=reference)
    for file in (tmp_path / "exported").iterdir():
        assert (files / "extra_files" / file.name).read_bytes() == file.read_bytes(), file.name


@pytest.mark.studies
def test_a_model_of_ones_own_is_exported_without_running_its_code(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "exported_models", raising=False)
    result = export(own, "optimal", tmp_path / "model", "tiny")
    assert result.exit_code == 0, result.output
    assert "trust=True" in result.output
    assert "exported_models" not in sys.modules
    with pytest.raises(UserError, match="trust=True"):
        load(tmp_path / "model")
    monkeypatch.syspath_prepend(own.parent)
    model = load(tmp_path / "model", trust=True)
    assert model.sample(2, generator="second_stage").shape == (2, 1, 8, 8)
    monkeypatch.delitem(sys.modules, "exported_models")


def occupied(folder: Path) -> None:
    folder.mkdir()
    (folder / "mine").write_text("kept")


def linked(folder: Path) -> None:
    (folder.parent / "elsewhere").mkdir()
    folder.symlink_to(folder.parent / "elsewhere")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (occupied, "a folder with something in it"),
        (linked, "this is a link"),
        (lambda folder: folder.write_text("kept"), "a file"),
    ],
)
def test_a_folder_that_is_taken_is_left_alone(
    make: Callable[[Path], None], said: str, reference: Path, tmp_path: Path
) -> None:
    make(tmp_path / "model")
    before = {path: path.lstat().st_mtime_ns for path in tmp_path.rglob("*")}
    result = export(reference, "tpe", tmp_path / "model")
    assert result.exit_code == 2
    assert said in result.output
    assert {path: path.lstat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_an_empty_folder_will_do(reference: Path, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    assert export(reference, "tpe", tmp_path / "model").exit_code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("through_a_link", [False, True])
def test_not_into_the_study_itself(through_a_link: bool, small: StudyHome, tmp_path: Path) -> None:
    folder = small.path / "trials"
    if through_a_link:
        (tmp_path / "link").symlink_to(folder)
        folder = tmp_path / "link"
    before = sorted(small.path.rglob("*"))
    result = export(small.studies, "tpe", folder / "model")
    assert result.exit_code == 2
    assert "inside the study's own folder" in result.output
    assert sorted(small.path.rglob("*")) == before


def test_what_cannot_be_found_is_said(small: StudyHome, tmp_path: Path) -> None:
    for name, arm, said in (
        ("smal", "tpe", "did you mean 'small'?"),
        ("small", "tp", "no arm 'tp'\n  did you mean 'tpe'?"),
    ):
        result = export(small.studies, arm, tmp_path / "model", name)
        assert result.exit_code == 2
        assert said in result.output
    (small.trial(best(small.studies, "tpe")["trial"]) / "model.pt").unlink()
    result = export(small.studies, "tpe", tmp_path / "model")
    assert "are not in the study's home any more" in result.output
    assert not (tmp_path / "model").exists()


def test_weights_that_are_none_leave_nothing_behind(small: StudyHome, tmp_path: Path) -> None:
    file = small.trial(best(small.studies, "tpe")["trial"]) / "model.pt"
    out = tmp_path / "out"
    file.write_bytes(b"no weights")
    assert "these are no weights" in export(small.studies, "tpe", out / "model").output
    torch.save({"a": torch.zeros(1)}, file)
    assert "not those of its settings" in export(small.studies, "tpe", out / "model").output
    elsewhere = tmp_path / "outside.pt"
    file.rename(elsewhere)
    file.symlink_to(elsewhere)
    assert "not in the study's home" in export(small.studies, "tpe", out / "model").output
    assert not list(out.rglob("*"))


def test_an_arm_that_has_no_complete_confirm_run(
    conducting: Callable[[int], tuple[Any, StudyHome]], tmp_path: Path
) -> None:
    _, home = conducting(4)
    result = export(home.studies, "optimal", tmp_path / "model", home.name)
    assert result.exit_code == 2
    assert "arm 'optimal' has no complete confirm run" in result.output
    assert f"study resume {home.name}" in result.output


def test_the_refitted_variance_of_records_that_do_not_tell_it() -> None:
    same = {f"{split}_{n}": 1.0 for split in ("validation", "test") for n in ("S", "R")}
    same |= {"validation_calibrated_negative_elbo": 2.0, "test_calibrated_negative_elbo": 2.0}
    assert refitted_variance(same) is None
    assert refitted_variance({**same, "test_S": None}) is None
    assert refitted_variance({}) is None
