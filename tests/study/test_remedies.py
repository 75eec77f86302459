"""What an error tells a person to do: it works where it is printed."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from study.cli import main
from study.journal import Journal
from study.journal.events import LaunchBegan
from study.journal.home import StudyHome, studies_home
from study.spec import SpecError, StudySpec, check_images, load_spec
from vae_core.data import PreparedData

ROOT = Path(__file__).parent.parent.parent
COMMAND = re.compile(r"`study ([a-z]+)([^`]*)`")

STUDY: dict[str, Any] = {
    "name": "small",
    "data": "digits",
    "model": {"name": "mlp", "latent": 8},
    "training": {"epochs": 2},
    "arms": {
        "hand": {
            "balancer": {"name": "fixed_beta", "reduction": "sum"},
            "search": {
                "space": {"beta": {"low": 1e-3, "high": 10.0, "log": True}},
                "sampler": {"name": "tpe", "n_startup_trials": 2},
                "pruner": {"name": "median", "synchronous": True},
                "trials": 8,
            },
        }
    },
}


def texts() -> Iterator[tuple[str, str]]:
    """Every text in the code, with its place; the parts of an f-string as one."""
    for package in ("study", "vae_core"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                place = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield place, node.value
                elif isinstance(node, ast.JoinedStr):
                    parts = (p.value if isinstance(p, ast.Constant) else "\0" for p in node.values)
                    yield place, "".join(str(part) for part in parts)


def command_lines() -> Iterator[tuple[str, str]]:
    """The verbs for which the code makes a command line, each with its place."""
    for path in sorted((ROOT / "study").rglob("*.py")):
        if path.parent.name == "cli":  # where `command` declares one
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
                called = getattr(node.func, "attr", getattr(node.func, "id", ""))
                if called in {"command", "command_line"} and isinstance(node.args[0].value, str):
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", node.args[0].value


def test_every_command_that_is_named_is_one_and_takes_the_options_it_is_named_with() -> None:
    named = 0
    for place, text in texts():
        for verb, rest in COMMAND.findall(text):
            assert verb in main.commands, place
            known = {option for p in main.commands[verb].params for option in p.opts}
            assert set(re.findall(r"--[a-z-]+", rest)) <= known, place
            named += 1
    assert named > 5
    made = list(command_lines())
    assert {verb for _, verb in made} >= {"resume", "stop", "fork"}
    assert not [(place, verb) for place, verb in made if verb not in main.commands]


def test_a_command_names_the_home_that_is_not_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = StudyHome(tmp_path / "my studies", "mine")
    assert elsewhere.command("resume") == f"study resume mine --home '{tmp_path}/my studies'"
    monkeypatch.setenv("STUDY_HOME", str(elsewhere.studies))
    assert studies_home() == elsewhere.studies
    assert elsewhere.command("resume") == "study resume mine"


@pytest.mark.parametrize(
    ("command", "on"),
    [
        (["study", "launch", "mine.yaml", "--address", "auto"], " --address auto"),
        (
            ["study", "resume", "mine", "--address=head:6379", "--set", "a=b"],
            " --address head:6379",
        ),
        (["study", "launch", "mine.yaml"], ""),
        (["notebook.py"], ""),
    ],
)
def test_a_resume_is_on_the_cluster_of_the_last_launch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str], on: str
) -> None:
    monkeypatch.setenv("STUDY_HOME", str(tmp_path))
    home = StudyHome(tmp_path, "mine")
    for launched in (["study", "launch", "--address", "former"], command):
        journal = Journal(home.path)
        journal.append(LaunchBegan(journal.epoch, 1, "h", launched))
        journal.commit()
        journal.close()
    Journal(home.path).close()  # as `study clean` opens it
    assert home.command("resume") == f"study resume mine{on}"
    assert home.command("stop") == "study stop mine"


def keys(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(value, dict):
        for key in value:
            yield (*path, key)
            yield from keys(value[key], (*path, key))


def renamed(value: Any, path: tuple[str, ...], to: str) -> Any:
    """``value`` with the last key of ``path`` renamed."""
    first, *rest = path
    return {
        (to if key == first and not rest else key): (
            renamed(inner, tuple(rest), to) if key == first and rest else inner
        )
        for key, inner in value.items()
    }


@pytest.mark.parametrize(
    "path", [p for p in keys(STUDY) if len(p[-1]) > 3 and p[-1] not in ("name", "hand")]
)
def test_the_name_that_a_misspelt_key_is_given_is_the_one_that_was_meant(
    tmp_path: Path, path: tuple[str, ...]
) -> None:
    """Whichever key of a study loses a letter, settings of models and options included."""
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(STUDY))
    load_spec(file)
    file.write_text(yaml.safe_dump(renamed(STUDY, path, path[-1][:1] + path[-1][2:])))
    with pytest.raises(SpecError) as caught:
        load_spec(file)
    said = str(caught.value)
    assert f"'{path[-1]}'" in said
    assert "did you mean" in said or "is missing" in said


@pytest.mark.parametrize(
    ("section", "given", "meant", "not_named"),
    [
        ("data", {"name": "digits", "validaton": 0.2}, "validation", "name"),
        ("model", {"name": "mlp", "latent": 8, "laten": 8}, "latent", "head"),
        ("model", {"name": "mlp", "latent": 8, "hea": 8}, None, "head"),
    ],
)
def test_settings_that_every_such_entry_has_are_named_too(
    tmp_path: Path, section: str, given: dict[str, Any], meant: str | None, not_named: str
) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump({**STUDY, section: given}))
    with pytest.raises(SpecError) as caught:
        load_spec(file)
    if meant is not None:
        assert f"did you mean '{meant}'?" in caught.value.remedy
    assert not_named not in re.split(r"\W+", caught.value.remedy)


@pytest.fixture
def grid(tmp_path: Path) -> Callable[[dict[str, Any]], StudySpec]:
    """Loads a study that visits a grid of beta."""

    def load(beta: dict[str, Any]) -> StudySpec:
        search = {"space": {"beta": beta}, "sampler": "grid"}
        arm = {"balancer": "fixed_beta", "search": search}
        file = tmp_path / "study.yaml"
        file.write_text(yaml.safe_dump({**STUDY, "arms": {"hand": arm}}))
        return load_spec(file)

    return load


@pytest.mark.parametrize(
    ("beta", "changed", "remedy"),
    [
        ({"low": 0.5, "high": 1.5, "step": 2.0}, "step", "give a step of at most "),
        ({"low": 0.25, "high": 123456.7, "step": 7.0}, "high", "use high: "),
        ({"low": 1.0, "high": 2.0, "step": 0.3}, "high", "use high: "),
    ],
)
def test_the_end_or_step_that_is_suggested_is_taken(
    grid: Any, beta: dict[str, Any], changed: str, remedy: str
) -> None:
    with pytest.raises(SpecError) as caught:
        grid(beta)
    assert caught.value.remedy.startswith(remedy)
    grid({**beta, changed: float(caught.value.remedy.removeprefix(remedy))})


@pytest.mark.parametrize("log", [True, False])
def test_a_grid_is_suggested_a_step_only_where_it_may_have_one(grid: Any, log: bool) -> None:
    beta = {"low": 1.0, "high": 10.0, "log": log}
    with pytest.raises(SpecError) as caught:
        grid(beta)
    assert ("step" in caught.value.remedy) == (not log)
    grid({**beta, "points": 4})


def test_the_number_of_reports_that_is_suggested_is_enough_for_every_arm() -> None:
    data = PreparedData(
        name="digits",
        shape=(1, 8, 8),
        files={},
        sha256={},
        counts={"train": 1500, "test": 297},
        source="",
    )
    arms = {
        name: {
            "balancer": "optimal_sigma",
            "search": {"space": {"training.epochs": epochs}, "trials": 2},
        }
        for name, epochs in {"long": [1.0, 2.0], "short": [0.5, 0.2]}.items()
    }

    def check(reports: int) -> None:
        training = {"epochs": 1, "batch_size": 135, "reports": reports}
        check_images(StudySpec.from_dict({**STUDY, "arms": arms, "training": training}), data)

    with pytest.raises(SpecError) as caught:
        check(9)
    enough = re.match(r"give (\d+) or less, or more arms.short.search", caught.value.remedy)
    assert enough is not None
    check(int(enough[1]))
