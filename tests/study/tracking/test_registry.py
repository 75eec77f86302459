"""Models in MLflow's registry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
import pytest

from study.tracking.store import tracking_uri

if TYPE_CHECKING:
    from .conftest import Journal, Store


def test_the_best_confirmed_model_of_each_arm_is_registered_once(
    journal: Journal, store: Store
) -> None:
    journal.two_arms()
    store.write(journal.home, journal.entries)
    journal.launch()
    trial = journal.ask(2, arm="tpe", seed=103, chosen_from=1)
    journal.train(trial, reports=5, artifacts=journal.pictures(trial))
    journal.finish()
    store.write(journal.home, journal.entries)
    client, found = store.client, store.runs()
    for arm, best, versions in (("tpe", trial, 2), ("auto", "auto.confirm.r0.0000", 1)):
        name = f"digits-beta.{arm}"
        version = client.get_model_version_by_alias(name, "best")
        assert version.run_id == found[f"trial/{best}"].info.run_id
        model = Path(version.source.removeprefix("file://"))
        assert {path.name: path.read_text() for path in model.iterdir()} == {"MLmodel": best}
        assert len(client.search_model_versions(f"name = '{name}'")) == versions
        assert found[f"trial/{best}"].info.run_name in version.description


def test_a_model_that_cannot_be_made_keeps_nothing_else_from_mlflow(
    journal: Journal, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    def pack(trial: str, folder: Path) -> None:
        if trial.startswith("auto"):
            raise ModuleNotFoundError("No module named 'my_vae'")
        journal.pack(trial, folder)

    journal.two_arms()
    store.write(journal.home, journal.entries, pack)
    assert [m.name for m in store.client.search_registered_models()] == ["digits-beta.tpe"]
    assert store.runs()["arm/auto"].info.status == "FINISHED"
    assert "auto.confirm.r0.0000: No module named 'my_vae'" in caplog.text


def arm_of(journal: Journal, arm: str) -> str:
    """A finished study of one arm that has another name; its confirm run."""
    journal.begin()
    described: Any = journal.entries[0].event
    roles = {arm: described.roles["auto"]}
    journal.entries[0] = journal.entries[0]._replace(event=replace(described, roles=roles))
    trial = journal.ask(0, arm=arm, chosen_from=None)
    journal.train(trial, artifacts=journal.pictures(trial))
    journal.finish()
    return trial


def test_no_two_arms_of_any_studies_share_a_name(
    journal: Journal,
    studies: Path,
    store_at: Callable[..., Store],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    uri, best = tracking_uri(studies), {}
    for study, arm in (("mine", "fast-auto"), ("mine-fast", "auto")):
        (studies / study).mkdir()
        its = type(journal)(studies / study)
        trial = arm_of(its, arm)
        store = store_at(uri, study)
        store.write(its.home, its.entries)
        best[f"{study}.{arm}"] = (trial, store.runs()[f"trial/{trial}"].info.run_id)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    for name, (trial, run) in best.items():
        assert store.client.get_model_version_by_alias(name, "best").run_id == run
        folder = mlflow.artifacts.download_artifacts(f"models:/{name}@best")
        assert Path(folder, "MLmodel").read_text() == trial


def test_what_an_earlier_version_registered_is_named_not_updated(
    journal: Journal, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    journal.two_arms()
    store.write(journal.home, journal.entries)
    client, best = store.client, store.runs()["trial/tpe.confirm.r0.0000"].info
    # As an earlier version leaves it: another name, and no tag of the arm's that names the model.
    client.delete_registered_model("digits-beta.tpe")
    client.delete_tag(store.runs()["arm/tpe"].info.run_id, "study.model")
    client.create_registered_model("digits-beta-tpe")
    source = f"{best.artifact_uri}/model"
    client.create_model_version("digits-beta-tpe", source, best.run_id, await_creation_for=0)
    client.set_registered_model_alias("digits-beta-tpe", "best", "1")
    for _ in range(2):
        store.write(journal.home, journal.entries)
        new = client.get_model_version_by_alias("digits-beta.tpe", "best")
        assert (int(new.version), new.run_id) == (1, best.run_id)
        assert caplog.text.count("'digits-beta-tpe' in MLflow is not updated any more") == 1
    old = client.get_registered_model("digits-beta-tpe")
    assert old.tags == {"study.renamed_to": "digits-beta.tpe"}
    assert {name: int(version) for name, version in old.aliases.items()} == {"best": 1}


def test_another_study_of_the_same_name_takes_the_alias_and_says_so(
    journal: Journal, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    journal.two_arms()
    store.write(journal.home, journal.entries)
    assert "another study" not in caplog.text
    other = type(journal)(journal.home)
    other.engine("e0")  # another time for its study event
    other.two_arms()
    store.write(journal.home, other.entries)
    assert caplog.text.count("'digits-beta.tpe' in MLflow also has versions of another study") == 1
    version = store.client.get_model_version_by_alias("digits-beta.tpe", "best")
    run = store.client.get_run(version.run_id)
    assert run.data.tags["study.created"] == f"{other.entries[1].time:.6f}"
