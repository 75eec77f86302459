"""A study whose beta is given for another loss: what its report is in, and what it says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from study.analysis.answers.report import build_report
from study.analysis.records.searches import arm_searches
from study.analysis.records.tables import build_tables
from study.analysis.rendering.figures.catalogue import figures
from study.journal.events import TrialAsked
from study.spec import StudySpec, resolve

D = 64
BETAS = [0.5, 5.0, 50.0]
RANDOM = {"sampler": {"name": "random"}, "pruner": None}


@pytest.fixture
def study(make_stream: Any, arms: Mapping[str, Any]) -> Callable[..., Any]:
    """Makes a study of one random search under a balancer, resolved as a launch does."""

    def make(balancer: Mapping[str, Any], latents: list[int]) -> Any:
        hand = {**arms["hand"], "balancer": {"name": "fixed_beta", **balancer}}
        hand["search"] = {**hand["search"], **RANDOM, "trials": len(BETAS)}
        stream = make_stream({"hand": hand, "sigma": arms["automatic"]})
        stream.search("hand", [9.0, 8.0, 7.0])
        stream.confirm("hand", {101: 7.0, 102: 7.2, 103: 7.1}, chosen_from=2)
        stream.confirm("sigma", {101: 8.0, 102: 8.2, 103: 8.1})
        spec = StudySpec.from_dict(
            {
                **{"name": "toy", "data": "digits", "model": {"name": "mlp", "latent": 8}},
                **{
                    "training": {"epochs": 1, "lr": 1e-3},
                    "arms": {"hand": {"balancer": hand["balancer"]}},
                },
            }
        )
        for i, entry in enumerate(stream.entries):
            if isinstance(entry.event, TrialAsked) and entry.event.arm == "hand":
                beta = BETAS[entry.event.number if entry.event.phase == "search" else 2]
                own = {"model.latent": latents[BETAS.index(beta)]}
                settings = resolve(spec, "hand", {"beta": beta, **own}, D)
                changed = replace(entry.event, params={"beta": beta}, settings=settings)
                stream.entries[i] = entry._replace(event=changed)
        return stream

    return make


MEAN = {"convention": {"reconstruction": "mean", "range": [-1, 1]}}
PER_LATENT = {"convention": {"reconstruction": "mean", "kl": "mean"}}


@pytest.mark.parametrize(
    ("balancer", "said", "factor"),
    [
        (MEAN, "mean, range [-1, 1]", D / 2 / 4),
        ({"reduction": "mean"}, "mean", D / 2),
        ({"convention": "pytorch_vae"}, "pytorch_vae (mean)", D / 2),
    ],
)
def test_the_setting_says_both_values(study: Any, balancer: Any, said: str, factor: float) -> None:
    tables = build_tables(study(balancer, [8, 8, 8]).entries)
    hand = next(arm for arm in build_report(tables).arms if arm.arm == "hand")
    own = f"{50 * factor:.4g}"
    assert hand.settings == [f"beta=50 (beta of {said}: {own} in S/2 + beta R)"]


def test_the_figure_of_the_searches_has_beta_as_k_sigma_squared(study: Any, tmp_path: Path) -> None:
    """As the automatic arms' marks in it are."""
    tables = build_tables(study(MEAN, [8, 8, 8]).entries)
    drawn = {f.name: f for f in figures(build_report(tables), tables, tmp_path)}["search"]
    places = [row["at"] for row in drawn.rows if row["part"] == "trial"]
    assert places == pytest.approx([beta * D / 2 / 4 for beta in BETAS])
    assert "Not here" not in drawn.caption


def test_an_arm_that_searched_another_parameter_is_named(
    make_stream: Any, arms: Mapping[str, Any], tmp_path: Path
) -> None:
    lr = {**arms["automatic"], "search": {**arms["hand"]["search"], **RANDOM}}
    stream = make_stream({"hand": arms["hand"], "rate": lr})
    stream.search("hand", [9.0, 8.0, 7.0])
    stream.search("rate", [9.0, 8.0, 7.0])
    for i, entry in enumerate(stream.entries):
        if isinstance(entry.event, TrialAsked) and entry.event.arm == "rate":
            changed = replace(entry.event, params={"training.lr": 0.01})
            stream.entries[i] = entry._replace(event=changed)
    tables = build_tables(stream.entries)
    drawn = {f.name: f for f in figures(build_report(tables), tables, tmp_path)}["search"]
    assert {row["arm"] for row in drawn.rows} == {"hand"}
    assert "Not here, as they searched no beta: rate." in drawn.caption


def test_the_prior_is_the_converted_range(study: Any) -> None:
    stream = study(MEAN, [8, 8, 8])
    tables = build_tables(stream.entries)
    found = arm_searches(tables["trials"], stream.spec, "calibrated_negative_elbo")["hand"]
    assert found.prior == pytest.approx((0.5 * D / 8, 50 * D / 8))


def test_beta_by_each_trials_latent_has_no_log_uniform_prior(study: Any) -> None:
    stream = study(PER_LATENT, [2, 4, 8])
    tables = build_tables(stream.entries)
    found = arm_searches(tables["trials"], stream.spec, "calibrated_negative_elbo")["hand"]
    assert found.prior is None
    assert found.searches[0].beta.tolist() == [0.5 * 16, 5.0 * 8, 50.0 * 4]
