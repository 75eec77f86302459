"""The command ``study`` as a person meets it, and what it makes of bad input."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import ray
from click.testing import CliRunner, Result
from own_models import MODELS
from PIL import Image

from benchmarks.made_up import begin, follow
from study import api
from study.cli import main
from study.journal import StudyHome
from study.journal.events import EngineChanged, StudyFinished
from study.launching.driver import StudyInterruptedError
from study.managing.control import stop_study
from study.search import Conductor

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


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, the studies' home ``home`` below it not made yet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("STUDY_HOME", str(tmp_path / "home"))
    (tmp_path / "study.yaml").write_text(STUDY)
    return tmp_path


@pytest.fixture(autouse=True)
def _signals():
    former = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, former)


@pytest.fixture
def own(place: Path, request: pytest.FixtureRequest) -> str:
    """A module of the user's own in the current folder; its name."""
    name = f"own_{abs(hash(request.node.nodeid))}"
    (place / f"{name}.py").write_text(OWN)
    return name


def study(*arguments: object) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def refusal(*arguments: object) -> str:
    """What the command says when it refuses: exit code 2, one error, nothing else."""
    result = study(*arguments)
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    assert result.stdout == ""
    text = "".join(f"{line}\n" for line in _said(result))
    assert text.startswith("error: "), text
    assert text.count("error: ") == 1
    return text.removeprefix("error: ")


def _said(result: Result) -> list[str]:
    return [line for line in result.stderr.splitlines() if not line.startswith("warning: ")]


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


class TestSpec:
    @pytest.mark.parametrize("verb", [["launch"], ["launch", "--dry-run"], ["data", "prepare"]])
    @pytest.mark.parametrize(
        ("old", "new", "line", "parts"),
        [
            ("latent: 8,", "latent: 8, latent: 9,", 3, ["'latent' is given twice"]),
            ("  epochs: 1", "\tepochs: 1", 5, ["not valid YAML"]),
            ("reports: 2", "report: 2", 6, ["training", "'report'", "did you mean 'reports'?"]),
            ("epochs: 1", "epochs: soon", 5, ["training.epochs", "'soon'", "passes over"]),
            ("low: 1e-3", "low: 0", 12, ["arms.random.search.space.beta", "0"]),
            ("low: 1e-3", "low: 100", 12, ["arms.random.search.space.beta", "100", "10"]),
            ("trials: 8", "trials: 8\n      sampler: tpee", 14, ["'tpee'", "did you mean 'tpe'?"]),
            ("fixed_beta", "fixed_bete", 9, ["'fixed_bete'", "did you mean 'fixed_beta'?"]),
            ("data: digits", "data: digit", 2, ["data.name", "'digit'", "did you mean 'digits'?"]),
            ("name: mlp", "name: mpl", 3, ["model.name", "'mpl'", "did you mean 'mlp'?"]),
            ("name: small", "name: small\nobjective: elbo", 2, ["depends on beta", "bits_per_dim"]),
            ("name: small", "name: a/b", 1, ["'a/b' cannot be a study's name", "use letters"]),
            ("name: small", "name: ..", 1, ["'..' cannot be a study's name"]),
            ("name: small", "name: data", 1, ["'data' is a folder beside", "another name"]),
            ("name: small", "name: mlartifacts", 1, ["'mlartifacts' is a folder beside"]),
        ],
    )
    def test_a_wrong_file(self, place, verb, old, new, line, parts):
        assert old in STUDY
        (place / "study.yaml").write_text(STUDY.replace(old, new))
        text = refusal(*verb, "study.yaml")
        assert text.startswith(f"study.yaml:{line}: ")
        for part in parts:
            assert part in text
        assert not (place / "home").exists()

    def test_a_missing_file(self, place):
        text = refusal("launch", "studi.yaml")
        assert (
            text
            == "studi.yaml: no such file\n  in .: did you mean 'study.yaml'? known: study.yaml\n"
        )
        assert not (place / "home").exists()

    def test_no_arm(self, place):
        (place / "study.yaml").write_text(STUDY.partition("arms:")[0] + "arms: {}\n")
        assert refusal("launch", "study.yaml").startswith("study.yaml:7: arms: no arm is given\n")

    @pytest.mark.parametrize(
        ("change", "parts"),
        [
            ("training.epochs=-1", ["training.epochs", "-1"]),
            ("training.epoch=1", ["'epoch'", "did you mean 'epochs'?"]),
            ("training", ["training"]),
            ("name=mlartifacts", ["'mlartifacts' is a folder"]),
            ("arms.learned.balancer={name: learned_sigma, k: 0}", ["k = 0", "between 0 and inf"]),
            ("model.name=nowhere.at_all:Model", ["cannot be imported", "No module named"]),
        ],
    )
    def test_a_wrong_override(self, place, change, parts):
        text = refusal("launch", "study.yaml", "--set", change)
        assert change.partition("=")[0] in text.partition("\n")[0]
        for part in parts:
            assert part in text
        assert not (place / "home").exists()

    @pytest.mark.parametrize(
        ("change", "key"),
        [
            ("data.validation=1500", "data.validation"),
            ("training.batch_size=5000", "training.batch_size"),
            ("training.reports=99", "training.reports"),
            ("model={name: conv, latent: 4}", "model"),
        ],
    )
    @pytest.mark.parametrize("dry", [BY_LAUNCH, ["--dry-run"]])
    def test_what_only_the_images_show(self, place, change, key, dry):
        assert refusal("launch", "study.yaml", "--set", change, *dry).startswith(f"{key}: ")
        assert not (place / "home" / "small").exists()

    @pytest.mark.parametrize(
        "arguments",
        [
            *(["lunch"], ["launch"], ["report", "x", "--format", "xml"], ["data", "x"]),
            *([verb, "x"] for verb in WITH_ANOTHER_NAME),
        ],
    )
    def test_wrong_use_of_the_command(self, arguments):
        result = study(*arguments)
        assert result.exit_code == 2
        assert "Usage: " in result.stderr


@pytest.mark.parametrize("verb", [LAUNCH, ["launch", "--dry-run"], ["data", "prepare"]])
class TestData:
    def refused(self, place, verb, data, *options):
        text = refusal(*verb, "study.yaml", "--set", f"data={data}", *options)
        assert [name for name in made(place) if name != "data"] == []
        return text

    def test_a_missing_root(self, place, verb):
        text = self.refused(place, verb, "fashion_mnist", "--data-root", "nowhere")
        assert text.startswith(f"{place / 'nowhere'}: no such folder\n")
        assert "data root" in text

    def test_a_truncated_file(self, place, verb):
        raw = place / "root" / "MNIST" / "raw"
        raw.mkdir(parents=True)
        (raw / "train-images-idx3-ubyte").write_bytes(b"\0" * 100)
        text = self.refused(place, verb, "mnist", "--data-root", "root")
        assert text.startswith(f"{raw / 'train-images-idx3-ubyte'}: truncated: 100 bytes")
        assert "fetch the file again" in text

    def test_a_wrong_checksum(self, place, verb, own):
        text = self.refused(place, verb, f"{own}:Wrong")
        assert "wrong checksum" in text
        assert "0" * 64 in text

    def test_an_image_of_another_shape(self, place, verb):
        (place / "pictures").mkdir()
        for number in range(20):
            side = 6 if number == 13 else 5
            Image.fromarray(np.zeros((side, side), np.uint8)).save(place / f"pictures/{number}.png")
        text = self.refused(place, verb, "{name: folder, path: pictures}")
        assert text.startswith(f"{place / 'pictures/13.png'}: ")
        assert "remove it, or set data.resize" in text

    def test_an_empty_folder(self, place, verb):
        (place / "pictures").mkdir()
        text = self.refused(place, verb, "{name: folder, path: pictures}")
        assert text.startswith(f"{place / 'pictures'}: no images for the train split\n")


class TestRun:
    @pytest.mark.parametrize("verb", [["launch"], ["launch", "--dry-run"], ["data", "prepare"]])
    @pytest.mark.parametrize("home", ["file/home", "/proc/home"])
    def test_a_home_that_cannot_be_written(self, place, verb, home):
        (place / "file").write_text("in the way")
        text = refusal(*verb, "study.yaml", "--home", home)
        assert str(place / home) in text  # an absolute path stays what it is
        assert "home" in text.splitlines()[-1]
        assert not os.path.exists(home)

    @pytest.mark.parametrize("verb", VERBS)
    def test_no_such_study(self, told, place, verb):
        more = ["x"] if verb in WITH_ANOTHER_NAME else []
        text = refusal(verb, "tolt", *more, "--home", told.studies)
        assert text == f"{told.studies}: no study 'tolt'\n  did you mean 'told'? known: told\n"
        text = refusal(verb, "tolt", *more)
        assert text == f"{place / 'home'}: no study 'tolt'\n  nothing is known here\n"
        assert not (place / "home").exists()

    @pytest.mark.parametrize("verb", VERBS)
    @pytest.mark.parametrize("name", ["../told", "/told", "a b", "data"])
    def test_a_name_with_path_characters(self, told, verb, name):
        more = ["x"] if verb in WITH_ANOTHER_NAME else []
        text = refusal(verb, name, *more, "--home", told.studies)
        assert text.startswith(f"'{name}' cannot be a study's name\n")

    def test_an_unreachable_ray_address(self, place):
        text = refusal("launch", "study.yaml", "--address", "127.0.0.1:1")
        assert text.startswith("--address: no Ray cluster answers at '127.0.0.1:1': ")
        assert not (place / "home").exists()

    def test_an_unreachable_mlflow_server(self, place, monkeypatch):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        text = refusal("launch", "study.yaml")
        assert text.startswith(
            "MLFLOW_TRACKING_URI: no MLflow server answers at 'http://127.0.0.1:9'"
        )
        assert not (place / "home").exists()

    def test_a_study_that_has_run_with_other_settings(self, told, place):
        shutil.copytree(told.studies, place / "home")
        before = made(place)
        text = refusal("launch", "study.yaml", "--set", "name=told")
        assert text.startswith(f"{place / 'home/told/spec.yaml'}: the study has run already")
        assert "training.epochs: 2.0 -> 1.0" in text
        assert made(place) == before


class TestOutcome:
    def test_a_study_of_which_no_trial_completed_fails_with_the_cause(
        self, told_spec, place, monkeypatch
    ):
        home = StudyHome(place / "home", told_spec.name)
        engine = EngineChanged("e1", "started", "cpu", 1)
        journal = begin(told_spec, home, [engine])
        conductor = Conductor(told_spec, journal, dims=64, slots=1)
        traceback = "Traceback (most recent call last):\nRuntimeError: shapes do not match\n"
        end = {"state": "failed", "reason": "crashed", "traceback": traceback}

        def crash(request, step):
            made = {"step": step, "images": 0, "metrics": {}, "seconds": {}, "engine": "e1"}
            return {**made, "end": end}

        follow(conductor, crash)
        conductor.note(StudyFinished())
        journal.close()
        report = api.report(told_spec.name)
        monkeypatch.setattr("study.launching.driver.run", lambda spec, options: report)
        result = study("resume", told_spec.name)
        assert result.exit_code == 1
        assert _said(result)[-1] == (
            "error: no trial of told completed; random.search.r0.0000 was the first to fail: "
            "crashed: RuntimeError: shapes do not match"
        )


class TestFork:
    def test_a_dry_run(self, told):
        result = study("fork", "told", "new", "--dry-run", "--home", told.studies)
        assert result.exit_code == 0, result.output
        assert result.stdout.startswith("new would run 7 trials on ")
        assert result.stderr.startswith("warning: ")
        assert not (told.studies / "new").exists()

    def test_over_a_study(self, told):
        text = refusal("fork", "told", "told", "--home", told.studies)
        assert text.startswith(f"{told.studies}: there is a study 'told' already\n")

    def test_with_a_wrong_change(self, told):
        text = refusal("fork", "told", "new", "--set", "model.latent=0", "--home", told.studies)
        assert text.startswith("--set model.latent=0: model.latent: 0 ")

    @pytest.mark.parametrize("far", [True, False])
    def test_interrupted_goes_on_by_what_is_there(self, told, place, monkeypatch, far):
        def interrupted(spec, options):
            if far:
                shutil.copytree(told.path, options.home.path)
            raise StudyInterruptedError

        shutil.copytree(told.studies, place / "home")
        monkeypatch.setattr("study.launching.driver.run", interrupted)
        arguments = ["fork", "told", "new", "--home", "home"]
        monkeypatch.setattr(sys, "argv", ["/somewhere/bin/study", *arguments])
        result = study(*arguments)
        assert result.exit_code == 130
        again = "resume new" if far else "fork told new"
        assert _said(result)[-1].endswith(f"Resume with: study {again} --home home")


class TestControl:
    def test_a_command_and_when_it_is_executed(self, conducting, place):
        _, home = conducting(4)
        result = study("stop", "told", "--arm", "optimal", "--home", home.studies)
        assert result.exit_code == 0
        assert result.stdout.startswith(
            "command sent; the study's driver executes it within seconds"
        )
        result = study("retry", "told", "random.search.r0.0001", "--home", home.studies)
        assert (result.exit_code, result.stderr) == (0, "")
        status = study("status", "told", "--home", home.studies).stdout
        assert "not executed yet: stop arm optimal\n" in status
        assert "not executed yet: retry trial random.search.r0.0001\n" in status

    def test_wrong_use(self, told):
        text = refusal("stop", "told", "--home", told.studies)
        assert text.startswith("told: the study is not running\n")
        text = refusal("retry", "told", "optimal.confirm.r0.fixed.0000", "--home", told.studies)
        assert text.startswith("told: trial 'optimal.confirm.r0.fixed.0000' is complete\n")

    def test_what_fails_on_the_way_has_an_exit_code_of_its_own(self, conducting, monkeypatch):
        _, home = conducting(4)
        monkeypatch.setattr(stop_study, "__defaults__", (0.3,))
        result = study("stop", "told", "--home", home.studies)
        assert result.exit_code == 1
        assert result.stderr.startswith("error: told: its driver has not executed the command ")


class TestOwn:
    """Things of the user's own, found in the current folder."""

    def test_all_of_them_in_a_dry_run(self, place, own):
        result = study(
            *("launch", "study.yaml", "--dry-run", "--set", "training.epochs=4"),
            *("--set", f"model={{name: '{own}:Plain', latent: 4}}"),
            *("--set", f"data={own}:Noise"),
            *("--set", f"arms.learned.balancer={own}:Halves"),
        )
        assert result.exit_code == 0, result.output
        assert "learned" in result.stdout

    @pytest.mark.parametrize("dry", [BY_LAUNCH, ["--dry-run"]])
    def test_a_model_that_breaks_its_contract(self, place, own, dry):
        change = f"model={{name: '{own}:Dropping', latent: 4}}"
        text = refusal("launch", "study.yaml", "--set", change, *dry)
        assert text.startswith("model: Dropping draws random numbers of its own, in the model")
        assert not (place / "home" / "small").exists()

    def test_a_balancer_that_breaks_its_contract(self, place, own):
        text = refusal("launch", "study.yaml", "--set", f"arms.learned.balancer={own}:Mixing")
        assert "balancer 'mixing' gives a member other numbers alone than among others" in text
        assert "arms.learned.balancer" in text
        assert not (place / "home").exists()

    @pytest.mark.parametrize(
        ("key", "name", "what"),
        [
            ("model.name", "Noise", "is not a model"),
            ("data", "Plain", "is not a data source"),
            ("arms.learned.balancer", "Plain", "is <class"),
            ("model.name", "Nothing", "has no attribute 'Nothing'"),
        ],
    )
    def test_something_else(self, place, own, key, name, what):
        text = refusal("launch", "study.yaml", "--set", f"{key}={own}:{name}")
        assert what in text
        assert not (place / "home").exists()


class TestInterruption:
    @pytest.mark.studies
    @pytest.mark.parametrize("name", ["CutShort", "Interrupted"])
    def test_exit_code_and_how_to_go_on(self, place, own, monkeypatch, name):
        change = f"data={own}:{name}"
        arguments = ["launch", "study.yaml", "--set", change]
        monkeypatch.setattr(sys, "argv", ["/somewhere/bin/study", *arguments])
        result = study(*arguments)
        assert result.exit_code == 130
        assert result.stdout == ""
        assert _said(result) == [
            f"interrupted; nothing is lost. Resume with: study launch study.yaml --set {change}"
        ]
        assert made(place) == ["data"]

    @pytest.mark.studies
    def test_going_on_takes_nothing_over(self, own, monkeypatch):
        arguments = ["launch", "study.yaml", "--take-over", "--set", f"data={own}:CutShort"]
        monkeypatch.setattr(sys, "argv", ["study", *arguments])
        result = study(*arguments)
        assert result.exit_code == 130
        assert result.stderr.endswith(f": study launch study.yaml --set data={own}:CutShort\n")

    def test_other_verbs(self, own):
        result = study("data", "prepare", "study.yaml", "--set", f"data={own}:CutShort")
        assert result.exit_code == 130


class TestLooking:
    def test_status(self, told):
        result = study("status", "told", "--home", told.studies)
        assert result.exit_code == 0
        assert result.stdout.startswith("told: finished; ")

    def test_show(self, told):
        result = study("show", "told", "random.search.r0.0001", "--home", told.studies)
        assert result.exit_code == 0
        for part in ("searched: ", "calibrated -ELBO", "Traceback (most recent", "trains on e1"):
            assert part in result.stdout

    def test_show_without_such_a_trial(self, told):
        text = refusal("show", "told", "random.search.r0.1", "--home", told.studies)
        assert text.startswith(
            "told: no trial 'random.search.r0.1'\n  the nearest: random.search.r0."
        )

    def test_report(self, told):
        result = study("report", "told", "--home", told.studies)
        assert result.exit_code == 0
        assert "What does a reader see?" in result.stdout
        assert "\x1b" not in result.stdout

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

    def test_version_and_help(self):
        assert "0.1.0" in study("--version").stdout
        text = study("--help").stdout
        for verb in ("launch", *VERBS, "data", "ui"):
            assert f"  {verb} " in text


def test_a_dry_run_says_what_would_run_and_starts_nothing(place):
    result = study("launch", "study.yaml", "--dry-run")
    assert result.exit_code == 0
    assert result.stdout.startswith("small would run 18 trials on ")
    for part in ("8 to search", "5 to confirm", "engine(s) on ", "memory", "disk", "time about"):
        assert part in result.stdout
    assert {name.partition("/")[0] for name in made(place)} == {"data"}
    assert not ray.is_initialized()


def test_warnings_go_to_stderr_as_lines(place):
    result = study("launch", "study.yaml", "--dry-run", "--set", "seeds=[1]")
    assert result.stderr.splitlines() == [
        "warning: one seed gives no interval, so arms cannot be distinguished: give 5 seeds."
    ]


@pytest.mark.studies
def test_sigterm_ends_the_ui_and_its_server(place):
    (place / "home").mkdir()
    (place / "home" / "mlflow.db").touch()
    command = [sys.executable, "-m", "study", "ui", "--port", "0"]
    shown = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    server = None
    try:
        deadline = time.monotonic() + 60
        while (server := _server(shown.pid)) is None:
            assert shown.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
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
