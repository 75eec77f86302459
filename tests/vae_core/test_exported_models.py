"""A model folder: what is loaded is what was written, to the last bit, and nothing else runs."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from own_layers import ONE_ROW, SEVERAL_ROWS, SHAPE, Layered

from vae_core.errors import UserError
from vae_core.export import (
    SECOND_STAGE,
    SETTINGS,
    WEIGHTS,
    Plan,
    load,
    picklable,
    read_tensors,
    write,
)
from vae_core.generation import SecondStage, SecondStageSettings, decode_all, sample_prior
from vae_core.geometry import ImageShape
from vae_core.models import MODELS, VAE, Head, Start, build, initialise
from vae_core.models.contract import evaluating

GREY, COLOUR = ImageShape(1, 28, 28), ImageShape(3, 32, 32)
BUILT_IN: list[tuple[dict[str, Any], ImageShape]] = [
    ({"name": "mlp", "latent": 3, "width": 8}, ImageShape(1, 8, 8)),
    ({"name": "conv", "latent": 3, "width": 4}, GREY),
    ({"name": "residual", "latent": 3, "width": 4, "dense": 16}, COLOUR),
    ({"name": "wae", "latent": 3, "width": 4}, GREY),
]
STAGE = asdict(SecondStageSettings(width=8, depth=2, recipe="dai2019"))
CASES = [
    (settings, shape, head)
    for settings, shape in BUILT_IN
    for head in (None, *sorted(MODELS.get(settings["name"]).heads))
]
OWN = """
from pathlib import Path
Path({mark!r}).touch()
from vae_core.models.mlp import MLP
class Own(MLP): pass
"""


def trained(settings: dict[str, Any], shape: ImageShape, head: Head | None = None) -> VAE:
    """A model that has seen images: its running statistics are not those it began with."""
    model = Start(partial(build, settings, shape), head).model(1)
    model.train()
    with torch.no_grad():
        model(torch.rand(8, *shape.chw), torch.randn(8, model.latent))
    return model


def images(shape: ImageShape, count: int = 5) -> torch.Tensor:
    return torch.rand(count, *shape.chw, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A whole model with a second stage."""
    settings, shape = BUILT_IN[0]
    stage = SecondStage(3, SecondStageSettings(**STAGE))
    initialise(stage, 2)
    plan = Plan(settings, shape, sigma2=0.25, second_stage=STAGE)
    weights = trained(settings, shape).state_dict()
    write(tmp_path / "model", plan, weights, stage.state_dict(), {"study": "s"})
    return tmp_path / "model"


@pytest.mark.parametrize(("settings", "shape", "head"), CASES)
def test_a_built_in_model_comes_back_to_the_last_bit(
    settings: dict[str, Any], shape: ImageShape, head: Head | None, tmp_path: Path
) -> None:
    vae = trained(settings, shape, head)
    write(tmp_path / "m", Plan(settings, shape, head), vae.state_dict(), None, {})
    model = load(tmp_path / "m")
    for name, value in vae.state_dict().items():
        assert torch.equal(model.vae.state_dict()[name], value), name
    x = images(shape)
    with evaluating(vae):
        z = vae.encode(x)[0]
        assert torch.equal(model.encode(x), z)
        assert torch.equal(model.reconstruct(x), vae.decode(z))
    assert torch.equal(model(x), model.reconstruct(x))
    assert torch.equal(model.sample(4, seed=7), sample_prior(vae, 4, 7))
    assert model.vae.head == head
    assert not model.reconstruct(x).requires_grad


def test_the_models_above_have_seen_images() -> None:
    settings, shape = BUILT_IN[3]
    vae, new = trained(settings, shape), build(settings, shape)
    initialise(new, 1)
    moved = [
        name
        for name, value in vae.state_dict().items()
        if "running_mean" in name and not torch.equal(value, new.state_dict()[name])
    ]
    assert moved, "or missing running statistics would go unnoticed"


def test_training_mode_changes_nothing(tmp_path: Path) -> None:
    settings, shape = BUILT_IN[3]
    write(tmp_path / "m", Plan(settings, shape), trained(settings, shape).state_dict(), None, {})
    model = load(tmp_path / "m")
    before = model.reconstruct(images(shape))
    model.train()
    assert torch.equal(model.reconstruct(images(shape)), before)


def test_the_second_stage(folder: Path) -> None:
    model = load(folder)
    assert model.sigma2 == 0.25
    assert model.generators == ["prior", "second_stage"]
    assert model.second_stage is not None
    expected = decode_all(model.vae, model.second_stage.sample(6, 5))
    assert torch.equal(model.sample(6, seed=5, generator="second_stage"), expected)
    assert not torch.equal(model.sample(6, seed=5), expected)


def test_bytes_are_taken_as_in_training(folder: Path) -> None:
    model = load(folder)
    values = torch.arange(64, dtype=torch.uint8).view(1, 1, 8, 8)
    assert torch.equal(model.encode(values), model.encode((values + 0.5) / 256))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (torch.rand(2, 8, 8), "float32 [2, 8, 8]"),
        (torch.rand(2, 1, 8, 9), "float32 [2, 1, 8, 9]"),
        (torch.rand(0, 1, 8, 8), "float32 [0, 1, 8, 8]"),
        (torch.zeros(2, 1, 8, 8, dtype=torch.int64), "int64 [2, 1, 8, 8]"),
        (torch.full((2, 1, 8, 8), 255.0), "values from 255 to 255"),
        (torch.full((2, 1, 8, 8), torch.nan), "values from nan to nan"),
        ([[0.5]], "a list"),
    ],
)
def test_what_is_no_image_is_said(given: Any, said: str, folder: Path) -> None:
    with pytest.raises(UserError, match=r"\[N, 1, 8, 8\]") as caught:
        load(folder).encode(given)
    assert said in caught.value.what


def test_what_cannot_be_decoded_or_sampled_is_said(folder: Path) -> None:
    model = load(folder)
    with pytest.raises(UserError, match=r"float32 \[2, 4\]"):
        model.decode(torch.rand(2, 4))
    with pytest.raises(UserError, match="count is 0"):
        model.sample(0)
    model.second_stage = None
    with pytest.raises(UserError, match="no generator 'second_stage'"):
        model.sample(1, generator="second_stage")


def test_code_of_ones_own_runs_only_where_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = tmp_path / "it_ran"
    (tmp_path / "exported_own.py").write_text(OWN.format(mark=str(mark)))
    monkeypatch.syspath_prepend(tmp_path)
    settings, shape = BUILT_IN[0]
    vae = trained(settings, shape)
    plan = Plan({**settings, "name": "exported_own:Own"}, shape)
    write(tmp_path / "m", plan, vae.state_dict(), None, {})
    with pytest.raises(UserError, match=r"trust=True"):
        load(tmp_path / "m")
    assert not mark.exists()
    model = load(tmp_path / "m", trust=True)
    assert mark.exists()
    assert type(model.vae).__name__ == "Own"
    assert torch.equal(model.sample(2), sample_prior(vae, 2, 0))


class Bomb:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def test_weights_that_are_code_do_not_run(tmp_path: Path) -> None:
    mark, file = tmp_path / "it_ran", tmp_path / "weights.pt"
    for write_bomb in (
        lambda: file.write_bytes(pickle.dumps(Bomb(mark), 2)),
        lambda: torch.save({"a": Bomb(mark)}, file),
    ):
        write_bomb()
        with pytest.raises(UserError, match="no weights"):
            read_tensors(file)
    torch.save([torch.zeros(1)], file)
    with pytest.raises(UserError, match="no weights"):
        read_tensors(file)
    assert not mark.exists()


@pytest.mark.parametrize("file", [WEIGHTS, SECOND_STAGE])
def test_one_bit_of_damage_is_found(folder: Path, file: str) -> None:
    content = bytearray((folder / file).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / file).write_bytes(content)
    with pytest.raises(UserError, match="damaged"):
        load(folder)
    (folder / file).unlink()
    with pytest.raises(UserError, match="cannot be read"):
        load(folder)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("format", 2, "the format is 2"),
        ("shape", [1, 8], "no settings of a model"),
        ("head", "nose", "head is 'nose'"),
        ("model", {"name": "mlp", "latent": 3, "width": 9}, "not those of its settings"),
        ("model", {"name": "mlp", "latent": 3, "wide": 9}, "no setting 'wide'"),
        ("model", {"latent": 3}, "not a built-in one"),
        ("second_stage", {"width": 8, "colour": 1}, "no settings of a model"),
        ("sha256", {}, "no settings of a model"),
    ],
)
def test_settings_that_are_none(folder: Path, key: str, value: Any, said: str) -> None:
    found = json.loads((folder / SETTINGS).read_text())
    (folder / SETTINGS).write_text(json.dumps({**found, key: value}))
    with pytest.raises(UserError, match=said):
        load(folder)


def test_no_model_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no model here"):
        load(tmp_path / "nothing")
    (tmp_path / SETTINGS).write_text("[")
    with pytest.raises(UserError, match="no model here"):
        load(tmp_path)
    (tmp_path / SETTINGS).write_text("[]")
    with pytest.raises(UserError, match="no settings of a model"):
        load(tmp_path)


def test_nothing_is_written_of_weights_that_are_another_models(tmp_path: Path) -> None:
    settings, shape = BUILT_IN[0]
    weights = trained({**settings, "width": 9}, shape).state_dict()
    with pytest.raises(UserError, match="not those of its settings"):
        write(tmp_path / "m", Plan(settings, shape), weights, None, {})
    assert not list(tmp_path.iterdir())


ALONE = """
import sys
from vae_core.export import load
model = load(sys.argv[1])
assert model.sample(2, seed=1).shape == (2, 1, 8, 8)
absent = {"ray", "optuna", "mlflow", "pydantic", "study", "scipy", "sklearn", "pandas"}
assert not absent & {name.partition(".")[0] for name in sys.modules}
"""


def test_loading_needs_none_of_the_orchestrations_libraries(folder: Path) -> None:
    command = [sys.executable, "-c", ALONE, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("kind", [*SEVERAL_ROWS, *ONE_ROW])
def test_a_model_of_layers_people_use_is_loaded_and_pickled_as_it_was(
    kind: type[Layered], tmp_path: Path
) -> None:
    settings = {"name": f"{kind.__module__}:{kind.__name__}", "latent": 3}
    model = trained(settings, SHAPE)
    write(tmp_path / "model", Plan(settings, SHAPE), model.state_dict(), None, {})
    assert not any("calls" in name for name in read_tensors(tmp_path / "model" / WEIGHTS))
    loaded = load(tmp_path / "model", trust=True)
    with evaluating(model):
        expected = model.decode(model.encode(images(SHAPE))[0])
    assert torch.equal(loaded.reconstruct(images(SHAPE)), expected)
    again = pickle.loads(pickle.dumps(picklable(loaded)))
    assert torch.equal(again.reconstruct(images(SHAPE)), expected)
