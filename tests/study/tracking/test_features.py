"""Final metrics in MLflow: the networks they were measured with, values and files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .conftest import Journal, Store

CLASSIFIER = {"network": "a classifier", "sha256": "c1" * 32, "dims": 64, "test_error": 0.02}
INCEPTION = {"network": "Inception-v3", "sha256": "1c" * 32, "dims": 2048}


def engine(journal: Journal, name: str, **features: Any) -> None:
    journal.engine(name, features=features)


def described(store: Store) -> dict[str, Any]:
    tags = store.runs()["study"].data.tags
    start = "features."
    return {k.removeprefix(start): json.loads(v) for k, v in tags.items() if k.startswith(start)}


def test_the_study_s_run_names_every_network(journal: Journal, store: Store) -> None:
    journal.begin()
    engine(journal, "e0", classifier={**CLASSIFIER, "n": 200}, inception={**INCEPTION, "n": 200})
    engine(journal, "e1", classifier={**CLASSIFIER, "n": 200}, inception={**INCEPTION, "n": 200})
    store.write(journal.home, journal.entries)
    assert described(store) == {
        "classifier": {**CLASSIFIER, "n": 200},
        "inception": {**INCEPTION, "n": 200},
    }
    tag = store.runs()["study"].data.tags["features.classifier"]
    assert tag == json.dumps(json.loads(tag), sort_keys=True), "equal networks, equal tags"


def test_the_tag_survives_a_resume_and_follows_another_network(
    journal: Journal, store: Store
) -> None:
    journal.begin()
    engine(journal, "e0", classifier=CLASSIFIER)
    store.write(journal.home, journal.entries)
    journal.launch()
    store.write(journal.home, journal.entries)
    assert described(store) == {"classifier": CLASSIFIER}
    engine(journal, "e1", classifier={**CLASSIFIER, "sha256": "d" * 64})
    store.write(journal.home, journal.entries)
    assert described(store)["classifier"]["sha256"] == "d" * 64


def test_engines_that_measure_no_distances_leave_no_tag(journal: Journal, store: Store) -> None:
    journal.begin()
    engine(journal, "e0")
    journal.engine("e1")
    journal.engine("e1", "stopped", seconds={"training": 1.0})
    journal.train(journal.ask(0))
    store.write(journal.home, journal.entries)
    assert described(store) == {}
    assert store.runs()["study"].info.status == "RUNNING"


FILES = {
    "checkpoint": "model.pt",
    "second_stage": "second_stage.pt",
    "distances": "distances.json",
    "calibration_quantiles": "calibration_quantiles.csv",
    "calibration_variances": "calibration_variances.csv",
    "latents": "latents.csv",
    "samples": "samples.png",
    "samples_second_stage": "samples_second_stage.png",
    "interpolations": "interpolations.png",
}
MEASURED = {
    "test/calibrated_negative_elbo": -12.5,
    "test/frechet_classifier_gen1": 3.25,
    "test/frechet_classifier_gen2": 2.5,
    "test/fid_rec": 41.0,
    "test/coverage_90": 0.875,
    "test/iwae": -14.0,
    "test/mutual_information": 6.5,
}


@pytest.mark.parametrize("twice", [False, True])
def test_a_confirm_run_s_numbers_and_files_arrive(
    journal: Journal, store: Store, twice: bool
) -> None:
    journal.begin()
    search = journal.ask(0)
    journal.train(search, reports=2)
    journal.choose(0, 50.0)
    confirm = journal.ask(0, seed=101, chosen_from=0)
    folder = journal.home / "trials" / confirm
    folder.mkdir(parents=True)
    for name, file in FILES.items():
        (folder / file).write_text(f"{name} of {confirm}")
    artifacts = {name: f"trials/{confirm}/{file}" for name, file in FILES.items()}
    journal.train(confirm, reports=2, metrics=MEASURED, artifacts=artifacts)
    store.write(journal.home, journal.entries)
    if twice:  # a driver died before it noted what it had written
        store.forget()
        store.write(journal.home, journal.entries)
    runs = store.runs()
    run = runs[f"trial/{confirm}"]
    for name, value in MEASURED.items():
        assert [row[:2] for row in store.history(run, name)] == [(2, value)]
    assert store.artifacts(run) == {
        f"{name}/{file}": f"{name} of {confirm}" for name, file in FILES.items()
    }
    assert not [name for name in runs[f"trial/{search}"].data.metrics if "frechet" in name]
