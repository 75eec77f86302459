"""Training a trial again: it agrees to the last bit, and what does not is found."""

from __future__ import annotations

import functools
import json
import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from click.testing import CliRunner, Result

from study import api
from study.cli import main
from study.engine import checkpoints
from study.engine.config import EngineConfig
from study.engine.engine import Engine
from study.engine.trial_run import TrialRun
from study.image_scores import ImageScores
from study.journal import Journal, StudyHome
from study.journal.events import FORMAT, read_event
from study.spec import StudySpec, resolve
from study.verifying.retrain import VerificationError, VerificationFailedError
from vae_core.data import prepare
from vae_core.errors import DataError, UserError
from vae_core.precision import Precision

SPEC: dict[str, Any] = {
    "name": "small",
    "data": {"name": "digits", "validation": 220},
    "model": {"name": "mlp", "latent": 4, "width": 16},
    "training": {"epochs": 1, "batch_size": 64, "lr": 3e-3, "reports": 4},
    "seeds": [0, 1],
    "evaluation": {"images": 200, "pictures": 4},
    "checkpoints": {"keep": "all"},
    "arms": {
        "random": {
            "balancer": "fixed_beta",
            "search": {"space": {"beta": {"low": 1e-3, "high": 10}}, "trials": 3},
        },
        "optimal": {"balancer": "optimal_sigma"},
    },
}
CONFIRM, OTHER = "optimal.confirm.r0.fixed.0000", "optimal.confirm.r0.fixed.0001"
SEARCH, WILD, NARROW = (f"random.search.r0.000{number}" for number in range(3))
Event = tuple[str, dict[str, Any]]


def trials(spec: StudySpec) -> Iterator[dict[str, Any]]:
    """Five trials: one diverges, one is of another shape, two are confirm runs."""
    for name, arm, params, seed in (
        (SEARCH, "random", {"beta": 0.1}, 11),
        (WILD, "random", {"beta": 1.0}, 12),
        (NARROW, "random", {"beta": 0.5}, 13),
        (CONFIRM, "optimal", {}, 0),
        (OTHER, "optimal", {}, 1),
    ):
        settings = resolve(spec, arm, params, 64)
        if name == WILD:
            settings["training"]["lr"] = 1e30
        if name == NARROW:
            settings["model"]["latent"] = 3
        yield {
            **{"trial": name, "arm": arm, "phase": name.split(".")[1], "replicate": 0},
            **{"number": int(name[-4:]), "seed": seed, "params": params, "settings": settings},
            **{"chosen_from": None, "retry_of": None},
        }


def run(home: StudyHome, width: int, precision: Precision = "float32") -> list[Event]:
    """The events of the study, its trials trained on an engine of so many slots."""
    home.make()
    spec = StudySpec.from_dict(SPEC)
    data = prepare(spec.data.settings, home.data)
    evaluation, objective = spec.evaluation.model_dump(mode="json"), spec.objective
    engine = Engine(
        EngineConfig("e1", str(home.path), "cpu", evaluation, objective, 1, "all", None, precision)
    )
    info = engine.prepare(data.to_dict(), 220, width)
    described = {"name": spec.name, "spec": spec.to_dict(), "spec_hash": spec.hash}
    events: list[Event] = [
        ("study", {**described, "code_version": "1", "data": data.to_dict()}),
        ("launch", {"epoch": 1, "pid": 1, "host": "h", "command": []}),
        ("engine", {**info, "state": "started"}),
    ]
    asked = list(trials(spec))
    events += [("trial", trial) for trial in asked]
    for trial in asked:
        engine.admit({**trial, "after": 0, "until": None, "course": {}})
    for trial in asked:
        name, reports = trial["trial"], list[dict[str, Any]]()
        while not reports or "end" not in reports[-1]:
            reports += engine.reports(name, len(reports))
        start = {key: reports[0]["start"][key] for key in ("engine", "shape", "key")}
        events.append(("start", {"trial": name, **start}))
        for report in reports:
            fields = ("step", "images", "metrics", "seconds", "engine")
            events.append(("report", {"trial": name, **{key: report[key] for key in fields}}))
        filled = {"reason": "", "metrics": {}, "seconds": {}, "artifacts": {}, "traceback": ""}
        ended = {"trial": name, "step": len(reports), "value": 1.0}
        events.append(("end", {**filled, **reports[-1]["end"], **ended}))
    events.append(("engine", {**engine.stop(), "state": "stopped"}))
    return [*events, ("finish", {})]


def write(home: StudyHome, events: list[Event]) -> None:
    """Make ``events`` the study's journal."""
    shutil.rmtree(home.journal, ignore_errors=True)
    home.spec.write_text(yaml.safe_dump(StudySpec.from_dict(SPEC).to_dict()))
    journal = Journal(home.path)
    for kind, data in events:
        journal.append(read_event(kind, data, FORMAT))
    journal.commit()
    journal.close()


Study = tuple[StudyHome, list[Event]]


@pytest.fixture(scope="session")
def begin(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Study]:
    """A finished study of engines of so many slots, and the events of its journal."""

    @functools.cache
    def make(width: int) -> Study:
        home = StudyHome(tmp_path_factory.mktemp("studies"), "small")
        events = run(home, width)
        write(home, events)
        return home, events

    return make


@pytest.fixture
def width() -> int:
    """K; a test that is parametrized by it goes before."""
    return 3


@pytest.fixture
def original(begin: Callable[[int], Study], width: int) -> Study:
    return begin(width)


@pytest.fixture
def small(original: Study, tmp_path: Path) -> StudyHome:
    """The study in a home that may be changed, its images where they were."""
    shutil.copytree(original[0].path, tmp_path / "studies" / "small")
    return StudyHome(tmp_path / "studies", "small")


Change = Callable[[str, dict[str, Any]], None]


@pytest.fixture
def changed(small: StudyHome, original: Study) -> Callable[[Change], None]:
    """Writes the study's journal anew, every event changed by a function."""

    def rewrite(change: Change) -> None:
        events = json.loads(json.dumps(original[1]))
        for kind, data in events:
            change(kind, data)
        write(small, events)

    return rewrite


def verify(home: StudyHome, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["verify", "small", *arguments, "--home", str(home.studies)])


def files(home: StudyHome) -> dict[str, tuple[bytes, int]]:
    found = (path for path in home.path.rglob("*") if path.is_file())
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in found}


@pytest.mark.parametrize("width", [1, 3])
class TestAgreement:
    def test_elsewhere_beside_others_and_into_nothing_of_the_studys(
        self, small, width, monkeypatch
    ):
        placed: list[tuple[str, int]] = []
        enter = TrialRun.enter

        def spied(run: TrialRun, bank: Any) -> None:
            enter(run, bank)
            placed.append((run.trial, run.row))

        monkeypatch.setattr(TrialRun, "enter", spied)
        before, said, threads = files(small), list[str](), torch.get_num_threads()
        found = api.verify("small", home=small.studies, progress=said.append)
        assert files(small) == before
        assert torch.get_num_threads() == threads
        assert found.agrees
        assert not found.failed
        assert (found.trial, found.why) == (
            CONFIRM,
            "the first confirm run whose weights are there",
        )
        scratch, middle = found.trainings
        assert [row for name, row in placed if name == CONFIRM] == [width - 1, (width - 1) // 2]
        assert [scratch.slot, middle.slot] == [width, (width - 1) // 2 + 1]
        assert {name for name, _ in placed} >= {*scratch.beside, middle.beside[0]}
        if width == 1:
            assert scratch.beside == middle.beside == [NARROW], "of another shape: it has a bank"
        else:
            assert (scratch.beside, middle.beside) == ([OTHER, SEARCH], [WILD, OTHER])
        assert (scratch.start, middle.start) == (
            "from scratch",
            "from the checkpoint of report 2, the recorded one",
        )
        a_report, the_end = 15, 7 + 7 + 6  # a confirm run's end has final metrics
        scores = ImageScores.read(small.trial(CONFIRM) / "image_scores.parquet")
        of_images = len(scores.values) + len(scores.draws)
        assert scratch.metrics == 4 * a_report + the_end + of_images
        assert middle.metrics == 2 * a_report + the_end + of_images
        weights = torch.load(small.trial(CONFIRM) / "model.pt", weights_only=True)
        count = sum(tensor.numel() for tensor in weights.values())
        assert scratch.weights == middle.weights == count
        assert [text.partition(",")[0] for text in said] == [
            f"training {CONFIRM} from scratch",
            f"training {CONFIRM} from the checkpoint of report 2",
        ]

    def test_a_search_trial_from_the_checkpoint_made_again(self, small):
        shutil.rmtree(small.trial(SEARCH))
        result = verify(small, SEARCH)
        assert result.exit_code == 0, result.output
        assert "from the checkpoint of report 2, the one made again, in slot" in result.stdout
        assert "    37 metrics agree to the last bit\n" in result.stdout
        assert result.stdout.endswith("all agree to the last bit\n")

    def test_one_of_another_shape_in_a_bank_of_its_own(self, small, width):
        found = api.verify("small", NARROW, home=small.studies)
        assert found.agrees
        if width == 3:
            assert found.trainings[0].beside == [f"{NARROW}-seed-14", f"{NARROW}-seed-15"]

    def test_as_json(self, small, width):
        result = verify(small, "--format", "json")
        found = json.loads(result.stdout)
        assert (result.exit_code, found["agrees"], found["failed"]) == (0, True, False)
        assert [training["differences"] for training in found["trainings"]] == [[], []]
        assert (found["trial"], found["slots"], found["keys"]) == (CONFIRM, width, {})


def test_a_trial_is_trained_again_in_its_own_precision(tmp_path):
    home = StudyHome(tmp_path, "small")
    events = run(home, 1, "bfloat16")
    write(home, events)
    starts = [data for kind, data in events if kind == "start"]
    assert {start["key"]["dtype"] for start in starts} == {"bfloat16"}
    found = json.loads(verify(home, "--format", "json").stdout)
    assert (found["agrees"], found["keys"]) == (True, {})


class TestDifference:
    def test_one_bit_of_one_metric(self, small, changed):
        def flip(kind: str, data: dict[str, Any]) -> None:
            if kind == "report" and (data["trial"], data["step"]) == (CONFIRM, 3):
                metrics = data["metrics"]
                metrics["validation/R"] = math.nextafter(metrics["validation/R"], math.inf)

        changed(flip)
        result = verify(small, "--format", "json")
        assert result.exit_code == 1
        trainings = json.loads(result.stdout)["trainings"]
        assert len(trainings) == 2
        for training in trainings:
            (found,) = training["differences"]
            assert (found["where"], found["name"]) == ("report 3", "validation/R")
            assert 0 < found["relative"] < 3e-16

    def test_what_is_no_number(self, small, changed):
        def odd(kind: str, data: dict[str, Any]) -> None:
            if kind == "report" and data["trial"] == CONFIRM:
                match data["step"]:
                    case 1:
                        data["metrics"]["validation/R"] = None
                    case 2:
                        data["metrics"]["gone"] = 1.0
                    case 3:
                        data["images"] = 1
                    case 4:
                        data["step"] = 9

        changed(odd)
        found = api.verify("small", home=small.studies)
        assert found.failed
        assert [(d.where, d.name) for d in found.trainings[0].differences] == [
            ("report 1", "validation/R"),
            ("report 2", "gone"),
            ("report 3", "images"),
            ("report 4", "the report"),
            ("report 9", "the report"),
        ]
        assert found.trainings[0].largest.relative is None
        json.dumps(found.to_dict(), allow_nan=False)

    def test_a_test_metric(self, small, changed):
        def shift(kind: str, data: dict[str, Any]) -> None:
            if kind == "end" and data["trial"] == CONFIRM:
                data["metrics"]["test/S"] += 1.0

        changed(shift)
        found = api.verify("small", home=small.studies)
        (difference,) = found.trainings[1].differences
        assert (difference.where, difference.name) == ("test", "test/S")
        assert difference.recorded == pytest.approx(difference.found + 1.0)

    def test_a_weight(self, small):
        file = small.trial(CONFIRM) / "model.pt"
        weights = torch.load(file, weights_only=True)
        name, tensor = next(iter(weights.items()))
        tensor.view(-1)[5] += 0.5
        torch.save(weights, file)
        found = api.verify("small", home=small.studies)
        assert found.failed
        for training in found.trainings:
            (difference,) = training.differences
            assert (difference.where, difference.name) == ("weights", f"{name}, entry 5")
            assert difference.recorded == pytest.approx(difference.found + 0.5)

    def test_the_score_of_an_image(self, small):
        file = small.trial(CONFIRM) / "image_scores.parquet"
        scores = ImageScores.read(file)
        scores.values[7] += 0.25
        file.write_bytes(scores.to_bytes())
        found = api.verify("small", home=small.studies)
        assert found.failed
        (difference,) = found.trainings[0].differences
        assert (difference.where, difference.name) == ("image scores", "values, entry 7")
        assert difference.recorded == difference.found + 0.25

    def test_a_middle_checkpoint_that_is_another(self, small):
        folder = small.trial(CONFIRM)
        saved = checkpoints.at(folder, 2)
        assert saved is not None
        next(value for name, value in saved.row.items() if "parameter" in name).mul_(1.001)
        checkpoints.save(folder, saved, epoch=1, keep="all")
        found = api.verify("small", home=small.studies)
        assert found.failed
        scratch, middle = found.trainings
        assert not scratch.differences
        assert {difference.where for difference in middle.differences} == {
            *("report 3", "report 4", "test", "image scores", "weights")
        }

    def test_a_torn_middle_checkpoint_is_passed_over(self, small):
        for path in small.trial(CONFIRM).glob("*.ckpt"):
            path.write_bytes(path.read_bytes()[:-1])
        found = api.verify("small", home=small.studies)
        assert found.agrees
        assert found.trainings[1].start.endswith("the one made again")


class TestAnotherKey:
    def test_is_named_with_the_largest_difference(self, small, changed):
        def elsewhere(kind: str, data: dict[str, Any]) -> None:
            if kind == "start":
                data["key"] |= {"device": "another one", "torch": "1.0"}
            if kind == "report" and (data["trial"], data["step"]) == (CONFIRM, 4):
                data["metrics"]["validation/S"] *= 1.01
                data["metrics"]["validation/R"] *= 1.0001

        changed(elsewhere)
        found = api.verify("small", home=small.studies)
        assert not found.agrees
        assert not found.failed
        text = str(found)
        assert "another numerics key: device was 'another one' and is " in text
        assert "another numerics key: torch was '1.0' and is " in text
        assert text.count("2 metrics and tensors differ, most of all\n      report 4: ") == 2
        for training in found.trainings:
            assert (training.largest.where, training.largest.name) == ("report 4", "validation/S")
            assert training.largest.relative == pytest.approx(0.01, rel=0.02)

    def test_and_still_equal_bits(self, small, changed):
        def elsewhere(kind: str, data: dict[str, Any]) -> None:
            if kind == "start":
                data["key"]["torch"] = "1.0"

        changed(elsewhere)
        result = verify(small)
        assert result.exit_code == 0
        assert result.stdout.endswith("all agree to the last bit\n")

    def test_a_trial_that_moved_between_two(self, small, changed, original):
        start = next(d for kind, d in original[1] if kind == "start" and d["trial"] == CONFIRM)

        def moved(kind: str, data: dict[str, Any]) -> None:
            if kind == "start" and data["trial"] == OTHER:
                data |= {**start, "key": {**start["key"], "torch": "9.9"}}

        changed(moved)
        found = api.verify("small", home=small.studies)
        assert found.keys == {"torch": ("9.9", start["key"]["torch"])}


class TestRefusals:
    def test_a_trial_that_is_not_complete(self, small):
        with pytest.raises(VerificationError, match=f"trial '{WILD}' is failed"):
            api.verify("small", WILD, home=small.studies)
        assert verify(small, WILD).exit_code == 2

    def test_an_unknown_trial(self, small):
        with pytest.raises(UserError, match=r"no trial 'optimal\.confirm'") as caught:
            api.verify("small", "optimal.confirm", home=small.studies)
        assert "the nearest: optimal.confirm.r0." in caught.value.remedy

    def test_a_study_without_a_complete_trial(self, conducting):
        _, home = conducting(1)
        with pytest.raises(VerificationError, match="no trial is complete"):
            api.verify("told", home=home.studies)

    def test_a_trial_that_crashes_now(self, small, changed):
        def gone(kind: str, data: dict[str, Any]) -> None:
            if kind == "trial" and data["trial"] == SEARCH:
                data["settings"]["model"]["name"] = "nowhere:Model"

        changed(gone)
        with pytest.raises(VerificationFailedError, match="crashes when it is trained") as caught:
            api.verify("small", SEARCH, home=small.studies)
        assert "No module named 'nowhere'" in caught.value.remedy
        assert caught.value.exit_code == 1

    def test_images_that_are_gone_or_damaged(self, small, changed, original):
        where = original[0].data
        (train,) = where.glob("*-train.arrow")

        def elsewhere(kind: str, data: dict[str, Any]) -> None:
            if kind == "study":
                data["data"]["files"]["train"] = f"/nowhere/{train.name}"

        changed(elsewhere)
        with pytest.raises(DataError, match="the prepared images are missing"):
            api.verify("small", home=small.studies)
        shutil.copytree(where, small.data)  # the home's own store goes before
        raw = bytearray((small.data / train.name).read_bytes())
        raw[len(raw) // 2] ^= 1
        (small.data / train.name).write_bytes(raw)
        with pytest.raises(DataError, match="wrong checksum"):
            api.verify("small", home=small.studies)


class TestWeights:
    def test_outside_the_home_are_not_read(self, small, changed, tmp_path):
        shutil.copy(small.trial(CONFIRM) / "model.pt", tmp_path / "model.pt")

        def outside(kind: str, data: dict[str, Any]) -> None:
            if kind == "end" and data["artifacts"]:
                data["artifacts"]["checkpoint"] = "../../model.pt"

        changed(outside)
        found = api.verify("small", home=small.studies)
        assert (found.why, found.trainings[0].weights) == ("the first complete confirm run", None)
        assert found.left_out == ["the weights: they are not in the study's home any more"]

    def test_and_scores_of_images_that_are_gone_are_left_out(self, small):
        (small.trial(CONFIRM) / "image_scores.parquet").unlink()
        found = api.verify("small", home=small.studies)
        assert found.agrees
        gone = "the scores of single images: they are not in the study's home any more"
        assert found.left_out == [gone]

    def test_that_would_run_code_are_not_loaded(self, small, tmp_path):
        class Bomb:
            def __reduce__(self) -> tuple[Any, ...]:
                return Path.touch, (tmp_path / "exploded",)

        torch.save({"weight": Bomb()}, small.trial(CONFIRM) / "model.pt")
        with pytest.raises(VerificationFailedError, match="these are no weights"):
            api.verify("small", home=small.studies)
        assert not (tmp_path / "exploded").exists()
