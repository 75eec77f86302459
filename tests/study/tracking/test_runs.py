"""What a study's runs look like in MLflow."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from study.journal.events import (
    EngineDied,
    Reported,
    StudyDescribed,
    StudyInterrupted,
    TrialPlaced,
    TrialSuspended,
)
from study.spec import StudySpec, resolve
from study.tracking.projection import Projection

if TYPE_CHECKING:
    from .conftest import Journal, Store


def test_runs_form_a_tree_with_names_and_tags(journal: Journal, store: Store) -> None:
    journal.two_arms()
    store.write(journal.home, journal.entries)
    found = store.runs()
    assert {run.info.status for run in found.values()} == {"FINISHED"}
    assert set(found) == {
        "study",
        *("arm/tpe", "arm/auto"),
        *("trial/tpe.search.r0.0000", "trial/tpe.search.r0.0001"),
        *("trial/tpe.confirm.r0.0000", "trial/tpe.confirm.r0.0001"),
        *("trial/auto.confirm.r0.0000", "trial/auto.confirm.r0.0001"),
    }
    parents = {key: run.data.tags.get("mlflow.parentRunId") for key, run in found.items()}
    assert parents["study"] is None
    assert parents["arm/tpe"] == parents["arm/auto"] == found["study"].info.run_id
    assert parents["trial/tpe.search.r0.0001"] == found["arm/tpe"].info.run_id
    assert parents["trial/auto.confirm.r0.0001"] == found["arm/auto"].info.run_id
    assert len({run.info.run_name for run in found.values()}) == len(found)

    tags = found["trial/tpe.confirm.r0.0001"].data.tags
    expected = {
        "study.name": "digits-beta",
        "study.arm": "tpe",
        "study.phase": "confirm",
        "replicate": "0",
        "number": "1",
        "seed": "102",
        "study.trial": "tpe.confirm.r0.0001",
        "chosen_from": "1",
        "study.spec_hash": "5e" * 32,
        "study.code_version": "0.1.0",
        "study.numerics": '{"dtype": "f", "width": 4}',
        "state": "complete",
    }
    assert expected.items() <= tags.items()


def test_params_are_resolved_settings_and_what_was_searched(journal: Journal, store: Store) -> None:
    journal.begin()
    trial = journal.ask(0, params={"beta": 4.0, "training.lr": 0.001})
    journal.train(trial)
    store.write(journal.home, journal.entries)
    assert store.runs()[f"trial/{trial}"].data.params == {
        "model.name": "mlp",
        "model.latent": "8",
        "training.lr": "0.001",
        "training.dequantize": "false",
        "balancer.name": "fixed_beta",
        "balancer.beta": "0.5",
        "arm": "tpe",
        "beta": "4.0",
        "log10 beta": "0.6021",
    }


def test_beta_as_given_for_another_loss_is_a_param_too(journal: Journal, store: Store) -> None:
    """A fixed one as well, which no search has among its own."""
    balancer = {"name": "fixed_beta", "beta": 0.01, "convention": "pytorch_vae"}
    spec = StudySpec.from_dict(
        {
            **{"name": "small", "data": "digits", "model": {"name": "mlp", "latent": 8}},
            **{"training": {"epochs": 1}, "arms": {"a": {"balancer": balancer}}},
        }
    )
    journal.begin()
    trial = journal.ask(0, params={}, settings=resolve(spec, "a", {}, 64))
    journal.train(trial)
    store.write(journal.home, journal.entries)
    params = store.runs()[f"trial/{trial}"].data.params
    assert {key: value for key, value in params.items() if key.partition(".")[0] == "given"} == {
        "given.beta": "0.01",
        "given.convention": "pytorch_vae (mean)",
    }
    assert params["balancer.beta"] == "0.32"


def test_metrics_carry_the_events_time_and_running_costs(journal: Journal, store: Store) -> None:
    journal.begin()
    trial = journal.ask(0)
    journal.train(trial, reports=3)
    store.write(journal.home, journal.entries)
    run = store.runs()[f"trial/{trial}"]
    times = [int(e.time * 1000) for e in journal.entries if isinstance(e.event, Reported)]
    assert store.history(run, "train/S") == [
        (step, 9.0 / step, time) for step, time in zip((1, 2, 3), times, strict=True)
    ]
    assert [row[1] for row in store.history(run, "images")] == [1000, 2000, 3000]
    assert [row[1] for row in store.history(run, "device_seconds")] == [0.75, 1.5, 2.25]
    start = next(e for e in journal.entries if isinstance(e.event, TrialPlaced))
    assert (run.info.start_time, run.info.end_time) == (
        int(start.time * 1000),
        int(journal.entries[-1].time * 1000),
    )


def test_a_runs_name_holds_what_was_searched(journal: Journal, store: Store) -> None:
    journal.begin()
    trial = journal.ask(3, params={"beta": 0.0123456, "training.lr": 0.001})
    again = journal.ask(3, params={"beta": 0.0123456}, retry_of=trial)
    chosen = journal.ask(0, seed=101, params={"beta": 4.0}, chosen_from=3)
    for each in (trial, again, chosen):
        journal.start(each)
    store.write(journal.home, journal.entries)
    names = {key: run.info.run_name for key, run in store.runs().items()}
    assert names[f"trial/{trial}"] == "#3 beta=0.01235 lr=0.001 tpe r0"
    assert names[f"trial/{again}"] == "#3 retry 1 beta=0.01235 tpe r0"
    assert names[f"trial/{chosen}"] == "seed 101 beta=4 tpe r0 of #3"


def test_a_pruned_trials_last_value_is_no_objective(journal: Journal, store: Store) -> None:
    journal.begin()
    trial = journal.ask(0)
    journal.train(trial, reports=2, state="pruned", value=None)
    store.write(journal.home, journal.entries)
    metrics = store.runs()[f"trial/{trial}"].data.metrics
    assert metrics["objective_when_pruned"] == 50.0
    assert "objective" not in metrics


def test_test_metrics_reach_confirm_runs_only(journal: Journal, store: Store) -> None:
    journal.two_arms()
    store.write(journal.home, journal.entries)
    for key, run in store.runs().items():
        tested = any(name.startswith("test/") for name in run.data.metrics)
        assert tested == (".confirm." in key)


def test_an_arm_has_no_score_but_the_reports(journal: Journal, store: Store) -> None:
    """A validation objective beside it would be taken for it: MLflow compares by the first."""
    journal.two_arms()
    store.write(journal.home, journal.entries)
    assert store.runs()["arm/tpe"].data.metrics == {}


def test_states_are_honest(journal: Journal, store: Store) -> None:
    journal.begin()
    ends = {
        "complete": ("FINISHED", {}),
        "pruned": ("KILLED", {}),
        "failed": ("FAILED", {"reason": "diverged at step 2", "value": None, "metrics": {}}),
    }
    for number, (state, (_, more)) in enumerate(ends.items()):
        journal.train(journal.ask(number), state=state, **more)
    crashed = journal.ask(3)
    journal.start(crashed)
    journal.end(crashed, 0, "failed", reason="crashed", value=None, traceback="ValueError: no")
    store.write(journal.home, journal.entries)
    found = store.runs()
    for number, (state, (status, _)) in enumerate(ends.items()):
        run = found[f"trial/tpe.search.r0.{number:04d}"]
        assert (run.info.status, run.data.tags["state"]) == (status, state)
    assert found["trial/tpe.search.r0.0002"].data.tags["reason"] == "diverged at step 2"
    run = found[f"trial/{crashed}"]
    assert run.info.status == "FAILED"
    assert store.artifacts(run) == {"traceback.txt": "ValueError: no"}


def test_numbers_not_finite_are_shown_as_nan_once(journal: Journal, store: Store) -> None:
    journal.begin()
    trial = journal.ask(0)
    journal.start(trial)
    journal.report(trial, 1, **{"train/loss": math.nan, "train/R": math.inf})
    store.write(journal.home, journal.entries)
    store.forget()
    store.write(journal.home, journal.entries)
    run = store.runs()[f"trial/{trial}"]
    for name in ("train/loss", "train/R"):
        assert math.isnan(run.data.metrics[name])
        assert len(store.history(run, name)) == 1


def test_artifacts_history_and_dataset(journal: Journal, store: Store, tmp_path: Path) -> None:
    journal.two_arms()
    secret = tmp_path / "secret"
    secret.write_text("not of this study")
    trial = journal.ask(2, arm="auto", seed=103, chosen_from=None)
    journal.train(trial, artifacts={"samples": "../../secret", "checkpoint": "artifacts/gone.pt"})
    store.write(journal.home, journal.entries)
    found = store.runs()
    confirmed = "auto.confirm.r0.0000"
    assert store.artifacts(found[f"trial/{confirmed}"]) == {
        f"{name}/{confirmed}.{name}.{suffix}": f"{name} of {confirmed}"
        for name, suffix in (("checkpoint", "pt"), ("samples", "png"), ("reconstructions", "png"))
    } | {"model/MLmodel": confirmed}
    assert store.artifacts(found[f"trial/{trial}"]) == {}
    assert store.artifacts(found["study"]) == {"spec.yaml": "name: digits-beta\n"}
    lines = store.artifacts(found["arm/tpe"])["search_history.csv"].splitlines()
    assert lines[0] == "number,beta,value,state,replicate,images,device_seconds,seed,drawn_by"
    assert lines[2] == f"1,1.5,{100 / 3},complete,0,3000,2.25,7,"
    assert len(lines) == 3  # the search only: confirm runs chose nothing
    assert store.artifacts(found["arm/auto"]) == {}

    for key in ("study", f"trial/{confirmed}"):
        inputs = found[key].inputs.dataset_inputs
        assert {(i.dataset.name, i.dataset.digest) for i in inputs} == {
            ("digits-train", "a" * 36),
            ("digits-validation", "c" * 36),
            ("digits-test", "b" * 36),
        }


def test_what_crashes_cost_is_in_the_device_seconds(journal: Journal, store: Store) -> None:
    journal.begin()
    trial = journal.ask(0)
    journal.add(EngineDied(trial, "e0"))
    journal.start(trial)
    journal.report(trial, 1)
    journal.report(trial, 2)
    journal.add(TrialSuspended(trial=trial, engine="e0", seconds={"training": 0.125}))
    journal.add(StudyInterrupted())
    journal.launch()
    journal.start(trial)
    journal.report(trial, 2, redone=True)
    journal.add(EngineDied(trial, "e1"))
    journal.report(trial, 3)
    journal.end(trial, 3)
    journal.finish()
    store.write(journal.home, journal.entries)
    run = store.runs()[f"trial/{trial}"]
    assert [row[:2] for row in store.history(run, "device_seconds")] == [
        (1, 0.75), (2, 1.5), (3, 1.5 + 0.125 + 0.75 + 0.75),
    ]  # fmt: skip
    assert all(steps in ([1, 2, 3], [3]) for steps in store.steps(run).values())
    assert run.data.tags["engine_deaths"] == "2"


def test_a_search_that_found_nothing_still_ends(journal: Journal, store: Store) -> None:
    journal.begin()
    trial = journal.ask(0)
    journal.start(trial)
    journal.end(trial, 0, "failed", reason="diverged at step 1")
    journal.choose(None, None)
    journal.finish()
    store.write(journal.home, journal.entries)
    arm = store.runs()["arm/tpe"]
    assert arm.info.status == "FINISHED"
    assert "failed" in store.artifacts(arm)["search_history.csv"]
    assert store.client.search_registered_models() == []


def test_a_step_reported_twice_is_taken_once(journal: Journal, store: Store) -> None:
    journal.begin()
    trial = journal.ask(0)
    journal.start(trial)
    journal.report(trial, 1)
    journal.report(trial, 1)
    store.write(journal.home, journal.entries)
    run = store.runs()[f"trial/{trial}"]
    assert store.steps(run)["train/S"] == [1]
    assert store.history(run, "device_seconds")[0][1] == 0.75


def test_limits_of_a_call_are_kept(journal: Journal, store: Store) -> None:
    journal.begin()
    trial = journal.ask(0, params={f"p{i:03d}": "x" * 7000 for i in range(250)})
    journal.start(trial)
    for step in range(1, 6):
        journal.report(trial, step, **{f"m{i:03d}": float(i) for i in range(500)})
    store.write(journal.home, journal.entries)
    run = store.runs()[f"trial/{trial}"]
    assert len(run.data.params) == 250 + 7
    assert run.data.params["p249"] == "x" * 6000
    assert len(run.data.metrics) == 504
    assert store.steps(run)["m499"] == [1, 2, 3, 4, 5]


def test_an_arm_is_named_after_its_role_not_its_balancer(journal: Journal) -> None:
    journal.begin()
    study = journal.entries[0].event
    assert isinstance(study, StudyDescribed)
    roles = {"tpe": study.roles["auto"], "auto": {"hand_tuned": True, "why": "searches k"}}
    journal.add(replace(study, roles=roles))
    for arm in roles:
        journal.start(journal.ask(0, arm=arm))
    projection = Projection(journal.home)
    for entry in journal.entries:
        projection.add(entry)
    assert projection.describe("arm/tpe").name == "tpe (automatic)"
    assert projection.describe("arm/auto").name == "auto (hand-tuned)"


def test_an_arm_has_what_it_trains_and_searches_with_as_params(
    journal: Journal, store: Store
) -> None:
    """MLflow changes no param: what an extension changed has the next number."""
    journal.begin()
    journal.start(journal.ask(0))
    journal.start(journal.ask(0, arm="auto", chosen_from=None))
    store.write(journal.home, journal.entries)
    arms = store.runs()
    assert arms["arm/auto"].data.params == {"balancer": "learned_sigma"}
    first = {
        **{"balancer": "fixed_beta", "sampler": "tpe", "searched": "beta"},
        **{"trials": "3", "replicates": "1"},
    }
    assert arms["arm/tpe"].data.params == first

    study = journal.entries[0].event
    assert isinstance(study, StudyDescribed)
    search = {**study.spec["arms"]["tpe"]["search"], "trials": 5}
    extended = {**study.spec["arms"], "tpe": {**study.spec["arms"]["tpe"], "search": search}}
    journal.add(replace(study, spec={**study.spec, "arms": extended}))
    journal.launch()
    for _ in range(2):
        store.write(journal.home, journal.entries)
        assert store.runs()["arm/tpe"].data.params == {**first, "trials.2": "5"}
        store.forget()


def test_what_people_read_is_written_before_what_only_the_platform_reads(
    journal: Journal,
) -> None:
    journal.begin()
    for arm in ("tpe", "auto"):
        journal.start(journal.ask(0, arm=arm))
    projection = Projection(journal.home)
    for entry in journal.entries:
        projection.add(entry)
    for key in ("study", "arm/tpe", "trial/tpe.search.r0.0000"):
        tags = list(projection.describe(key).tags)
        assert tags == sorted(tags, key=lambda name: name.startswith("study."))
        assert max(name for name in tags if not name.startswith("study.")) < "study."


def test_tags_of_an_earlier_version_do_not_contradict_todays(
    journal: Journal, store: Store
) -> None:
    journal.two_arms()
    store.write(journal.home, journal.entries)
    for name in ("study.state", "study.arm_kind"):
        store.client.set_tag(store.runs()["arm/tpe"].info.run_id, name, "of then")
    journal.launch()
    store.write(journal.home, journal.entries)
    tags = store.runs()["arm/tpe"].data.tags
    assert (tags["state"], tags["study.kind"]) == ("running", "arm")
    assert "study.state" not in tags
    assert tags["study.arm_kind"] == "of then"  # until the report says it anew
