"""The evaluation section of a study file, and its errors."""

from __future__ import annotations

import copy
import hashlib
import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from own_models import MODELS

from study.journal import Journal, StudyHome
from study.journal.events import StudyDescribed
from study.launching.checks import settle
from study.metrics import OBJECTIVES
from study.spec import (
    EvaluationSpec,
    SpecError,
    StudySpec,
    check_images,
    check_names,
    difference,
)
from vae_core.data import PreparedData
from vae_core.generation import SecondStageSettings

DIGITS = PreparedData("digits", (1, 8, 8), {}, {}, {"train": 1500, "test": 297}, "")


def test_nothing_is_measured_closely_that_costs_much_unless_asked(base: Any) -> None:
    asked = StudySpec.from_dict(base()).evaluation
    assert (asked.images, asked.pictures, asked.trials) == (2048, 32, "confirm")
    assert (asked.iwae, asked.features, asked.samples) == (0, [], 10_000)
    assert (asked.generators, asked.mixture) == (["prior"], 10)


@pytest.mark.parametrize(("images", "draws"), [(297, 41), (2_000, 6), (10_000, 2), (60_000, 2)])
def test_a_test_set_gets_as_many_draws_as_it_is_small(images: int, draws: int) -> None:
    assert EvaluationSpec().draws_of(images) == draws
    assert EvaluationSpec(draws=1).draws_of(images) == 1


def test_what_older_versions_measured_keeps_the_hash_it_had(base: Any) -> None:
    """They recorded neither key: one draw, and ties inside."""
    spec = StudySpec.from_dict(base(evaluation={"draws": 1}))
    older = spec.to_dict()
    assert older["evaluation"].pop("draws") == 1
    text = json.dumps(older, sort_keys=True, separators=(",", ":"))
    assert spec.hash == hashlib.sha256(text.encode()).hexdigest()
    assert "ties" not in older["evaluation"]
    others = [base(), base(evaluation={"draws": 1, "ties": "outside"})]
    assert len({spec.hash, *(StudySpec.from_dict(other).hash for other in others)}) == 3


def test_the_second_stage_s_defaults_are_the_core_s() -> None:
    """A recipe's numbers are the same from a study and from the core."""
    stage = EvaluationSpec().second_stage.model_dump()
    assert SecondStageSettings(**stage) == SecondStageSettings()


def test_each_key_arrives(base: Any) -> None:
    section = {
        "images": 100,
        "trials": "all",
        "iwae": "5e1",
        "features": ["inception", "classifier"],
        "samples": 6,
        "generators": ["second_stage", "mixture"],
        "mixture": 3,
        "second_stage": {"recipe": "dai2019", "width": 8, "lr": "1e-3"},
    }
    spec = StudySpec.from_dict(base(evaluation=section))
    assert StudySpec.from_dict(spec.to_dict()) == spec
    asked = spec.evaluation
    assert (asked.iwae, asked.second_stage.lr, asked.second_stage.epochs) == (50, 1e-3, 800)
    assert asked.features == ["inception", "classifier"]
    assert asked.generators == ["second_stage", "mixture"]


@pytest.mark.parametrize(
    ("section", "key", "what", "remedy"),
    [
        ({"images": 1}, "images", "1 should be", "2 or more"),
        ({"samples": 5}, "samples", "5 should be", "6 or more"),
        ({"iwae": -1}, "iwae", "-1 should be", "0 for none"),
        ({"iwae": 2.5}, "iwae", "2.5 should be", "samples of the IWAE bound"),
        ({"mixture": 0}, "mixture", "0 should be", "1 or more"),
        ({"trials": "search"}, "trials", "'search' should be", "confirm, or all"),
        ({"features": ["vgg"]}, "features.0", "'vgg' should be", "classifier and inception"),
        ({"features": "classifier"}, "features", "'classifier' should be", "networks"),
        (
            {"features": ["inception", "inception"]},
            *("features.1", "'inception' is given twice", "give each once"),
        ),
        ({"generators": []}, "generators", "no generator is given", "[prior]"),
        ({"generators": ["prior", "gan"]}, "generators.1", "'gan' should be", "second_stage"),
        (
            {"generators": ["prior", "mixture", "prior"]},
            *("generators.2", "'prior' is given twice", "give each once"),
        ),
        ({"fid": True}, "fid", "unknown key 'fid'", ""),
        ({"sampels": 100}, "sampels", "unknown key 'sampels'", "did you mean 'samples'"),
        ({"second_stage": True}, "second_stage", "True is not a mapping", "width: 2048"),
        (
            {"second_stage": {"epoch": 3}},
            *("second_stage.epoch", "unknown key 'epoch'", "did you mean 'epochs'"),
        ),
        ({"second_stage": {"lr": 0}}, "second_stage.lr", "0.0 should be", "above 0"),
        ({"second_stage": {"depth": 0}}, "second_stage.depth", "0 should be", "1 or more"),
        (
            {"second_stage": {"recipe": "lin2019"}},
            *("second_stage.recipe", "'lin2019' should be", "asperti2020 or dai2019"),
        ),
        (
            {"second_stage": {"batch_size": 0}},
            *("second_stage.batch_size", "0 should be", "latents per step"),
        ),
    ],
)
def test_a_wrong_section(base: Any, refused: Any, section: Any, key: str, what: str, remedy: str):
    error = refused(base(evaluation=section))
    assert error.where.endswith(f": evaluation.{key}")
    assert what in error.what
    assert remedy in error.remedy


@pytest.mark.parametrize(
    ("objective", "network"), [(m.name, m.network) for m in OBJECTIVES.values() if m.network]
)
@pytest.mark.parametrize(
    ("key", "value", "needed"),
    [("features", [], None), ("generators", ["mixture", "second_stage"], "prior")],
)
def test_a_distance_as_the_objective_needs_its_network_and_the_prior(
    base: Any, refused: Any, objective: str, network: str, key: str, value: list[str], needed: Any
) -> None:
    whole = {"features": [network], "generators": ["prior"]}
    assert StudySpec.from_dict(base(objective=objective, evaluation=whole)).objective == objective
    error = refused(base(objective=objective, evaluation={**whole, key: value}))
    assert error.where.endswith(": objective")
    needed = needed or network
    assert error.what == f"objective '{objective}' needs {needed} among evaluation.{key}"
    assert error.remedy == f"add {needed} to evaluation.{key}"


def test_another_network_will_not_do(base: Any, refused: Any) -> None:
    assert (
        "needs inception"
        in refused(base(objective="fid_gen1", evaluation={"features": ["classifier"]})).what
    )


def test_a_distance_of_a_generator_that_is_no_objective(base: Any, refused: Any) -> None:
    """The second stage is trained once, at the end: no report before could be scored by it."""
    error = refused(base(objective="fid_gen2", evaluation={"features": ["inception"]}))
    assert error.what == "unknown objective 'fid_gen2'"
    assert "'fid_gen1'" in error.remedy
    assert "fid_gen2" not in OBJECTIVES


@pytest.fixture
def misfit(base: Any) -> Any:
    def check(**changes: Any) -> SpecError:
        with pytest.raises(SpecError) as caught:
            check_images(StudySpec.from_dict(base(**changes)), DIGITS)
        return caught.value

    return check


STAGE = {"generators": ["second_stage"], "second_stage": {"batch_size": 1281}}
MIXTURE = {"generators": ["prior", "mixture"], "mixture": 1281}


@pytest.mark.parametrize(
    ("section", "where", "what"),
    [
        (STAGE, "second_stage.batch_size", "1,281 latents a batch, of 1,280 training images"),
        (MIXTURE, "mixture", "1,281 Gaussians, of 1,280 training images"),
    ],
)
def test_more_latents_asked_for_than_there_are(
    base: Any, misfit: Any, section: dict[str, Any], where: str, what: str
) -> None:
    data = {"name": "digits", "validation": 220}
    error = misfit(data=data, evaluation=section)
    assert error.where == f"evaluation.{where}"
    assert error.what == what
    assert error.remedy == "give 1,280 or less"
    # As many as there are will do, and so will any number of a generator that is not asked for.
    fits: list[dict[str, Any]] = [
        {**section, "second_stage": {"batch_size": 1280}, "mixture": 1280},
        {**section, "generators": ["prior"]},
    ]
    for evaluation in fits:
        check_images(StudySpec.from_dict(base(data=data, evaluation=evaluation)), DIGITS)


HEADLESS = (
    MODELS
    + """
class Renamed(Plain):
    pass
"""
)


@pytest.mark.parametrize("balancer", ["predicted_pixel_sigma", "predicted_image_sigma"])
def test_a_user_s_model_without_heads_under_a_balancer_that_needs_one(
    base: Any, misfit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, balancer: str
) -> None:
    (tmp_path / "spec_headless_models.py").write_text(HEADLESS)
    monkeypatch.syspath_prepend(tmp_path)
    model = {"name": "spec_headless_models:Renamed", "latent": 2}
    plain = {"plain": {"balancer": "learned_sigma"}}
    check_images(StudySpec.from_dict(base(model=model, arms=plain)), DIGITS)
    error = misfit(model=model, arms={**plain, "headed": {"balancer": balancer}})
    assert error.where == "model"
    head = balancer.split("_")[1]
    assert "'spec_headless_models:Renamed' cannot be built with a head" in error.what
    assert head in error.what
    assert "a balancer that needs no head" in error.remedy


@pytest.mark.parametrize("model", ["mlp", "conv", "residual", "wae"])
def test_built_in_models_have_heads(base: Any, model: str) -> None:
    digits = PreparedData("mnist", (1, 32, 32), {}, {}, {"train": 1500, "test": 297}, "")
    arms = {name: {"balancer": name} for name in ("predicted_image_sigma", "predicted_pixel_sigma")}
    spec = StudySpec.from_dict(base(model={"name": model, "latent": 2}, arms=arms))
    check_names(spec)
    check_images(spec, digits)


def test_a_head_is_no_setting_of_a_model(base: Any, searching: Any, refused: Any) -> None:
    error = refused(base(model={"name": "mlp", "latent": 2, "head": "pixel"}))
    assert error.where.endswith(": model.head")
    assert error.what == "a model has no setting 'head'"
    assert "predicted_image_sigma or predicted_pixel_sigma" in error.remedy
    error = refused(searching({"beta": [0.1, 1.0], "model.head": ["image", "pixel"]}))
    assert error.where.endswith(": arms.a.search.space.model.head")
    assert "'model.head' is neither a setting nor" in error.what


@pytest.mark.parametrize("balancer", ["running_average", "learned_sigma", "predicted_pixel_sigma"])
def test_what_papers_call_beta_is_k_in_an_automatic_balancer(
    base: Any, refused: Any, balancer: str
) -> None:
    error = refused(base(arms={"a": {"balancer": {"name": balancer, "beta": 3}}}))
    assert error.where.endswith(": arms.a.balancer.beta")
    assert f"'{balancer}' has no hyperparameter 'beta'" in error.what
    assert "k" in error.remedy.replace(":", " ").replace("'", " ").replace(",", " ").split()


@pytest.fixture
def frozen(base: Any, tmp_path: Path) -> Any:
    """Makes the home of a study that was begun with some evaluation section."""

    def freeze(evaluation: dict[str, Any] | None) -> Any:
        spec = StudySpec.from_dict(base()).to_dict()
        if evaluation is None:
            del spec["evaluation"]
        else:
            spec["evaluation"] = evaluation
        home = StudyHome(tmp_path, spec["name"])
        home.make()
        with closing(Journal(home.path)) as journal:
            journal.append(StudyDescribed(spec["name"], spec, "", ""))
            journal.commit()
        return home

    return freeze


@pytest.mark.parametrize("section", [None, {"images": 2048, "pictures": 32}, {"images": 100}])
def test_a_study_begun_before_there_were_these_keys_goes_on(
    base: Any, frozen: Any, section: dict[str, Any] | None
) -> None:
    now = StudySpec.from_dict(base(**({} if section is None else {"evaluation": section})))
    assert settle(now, frozen(section)).evaluation == now.evaluation


def test_a_study_begun_with_one_draw_goes_on_with_no_other_number(base: Any, frozen: Any) -> None:
    home = frozen({"draws": 1})
    one = StudySpec.from_dict(base(evaluation={"draws": 1}))
    assert settle(one, home).evaluation.draws == 1
    for evaluation in ({}, {"draws": "auto"}):
        with pytest.raises(SpecError, match=r"evaluation\.draws: 1 -> 'auto'"):
            settle(StudySpec.from_dict(base(evaluation=evaluation)), home)


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        ({"features": ["classifier"]}, "evaluation.features: [] -> ['classifier']"),
        ({"iwae": 50}, "evaluation.iwae: 0 -> 50"),
        ({"second_stage": {"epochs": 9}}, "evaluation.second_stage.epochs: 800 -> 9"),
        ({"trials": "all"}, "evaluation.trials: 'confirm' -> 'all'"),
    ],
)
def test_but_it_cannot_begin_to_measure_something_else(
    base: Any, frozen: Any, asked: dict[str, Any], line: str
) -> None:
    """Half of its trials would lack the numbers."""
    with pytest.raises(SpecError) as caught:
        settle(
            StudySpec.from_dict(base(evaluation=asked)), frozen({"images": 2048, "pictures": 32})
        )
    assert line in caught.value.what
    old = StudySpec.from_dict(base()).to_dict()
    new = copy.deepcopy(old)
    new["evaluation"] |= StudySpec.from_dict(base(evaluation=asked)).to_dict()["evaluation"]
    assert difference(old, new) == ([], [line])
