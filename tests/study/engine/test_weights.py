"""Where a study finds the Inception network's weights."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from study.engine.weights import measured_with, recorded_weights, shared_weights
from study.journal import Entry
from study.journal.events import EngineChanged, StudyFinished
from study.spec import EvaluationSpec
from vae_core.errors import DataError
from vae_core.evaluation.features import WEIGHTS_VARIABLE

ASKED = EvaluationSpec(features=["inception"])


class Untrained(FeatureExtractorInceptionV3):
    def load_state_dict(self, *args: Any, **kwargs: Any) -> None:
        """It keeps the values it was made with."""


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "random.pth"
    torch.save({}, path)
    network = Untrained("untrained", ["2048"], feature_extractor_weights_path=str(path))
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No file is named, none is in torch's cache, and nothing can be downloaded."""

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise URLError("no network")

    monkeypatch.delenv(WEIGHTS_VARIABLE, raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)


def test_a_study_that_asks_for_none_gets_none(tmp_path: Path) -> None:
    assert shared_weights(EvaluationSpec(features=["classifier"]), tmp_path) is None


def test_the_file_named_is_copied_to_where_every_node_sees_it(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offline: None
) -> None:
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(weights))
    found = shared_weights(ASKED, tmp_path)
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert found == tmp_path / f"inception-{digest[:12]}.pth"
    assert found.read_bytes() == weights.read_bytes()
    recorded = {"inception": [{"sha256": digest}]}
    assert recorded_weights(recorded, tmp_path) == found
    monkeypatch.delenv(WEIGHTS_VARIABLE)
    assert shared_weights(ASKED, tmp_path) == found, "a later launch needs to name it no more"


def test_a_resume_goes_on_with_its_own_whatever_other_studies_have_brought(
    tmp_path: Path, offline: None
) -> None:
    for number, sha in enumerate(("a" * 64, "b" * 64)):
        path = tmp_path / f"inception-{sha[:12]}.pth"
        path.touch()
        os.utime(path, (number, number))
    started = EngineChanged("e", "started", features={"inception": {"sha256": "a" * 64}})
    entries = [Entry(0, 0.0, StudyFinished()), Entry(1, 0.0, started)]
    assert measured_with(entries[:1]) is None
    found = shared_weights(ASKED, tmp_path, measured_with(entries))
    assert found == tmp_path / f"inception-{'a' * 12}.pth"
    assert shared_weights(ASKED, tmp_path) == tmp_path / f"inception-{'b' * 12}.pth"


def test_without_any_the_error_names_both_ways(tmp_path: Path, offline: None) -> None:
    with pytest.raises(DataError) as caught:
        shared_weights(ASKED, tmp_path)
    assert "could not be downloaded: <urlopen error no network>" in str(caught.value)
    assert WEIGHTS_VARIABLE in str(caught.value)
    assert "weights-inception-2015-12-05-6726825d.pth" in str(caught.value)
    assert not list(tmp_path.glob("*.pth"))


def test_a_file_of_something_else_is_refused_and_not_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save({"layer": torch.zeros(2)}, tmp_path / "other")
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(tmp_path / "other"))
    with pytest.raises(DataError, match="not the weights of the Inception network"):
        shared_weights(ASKED, tmp_path)
    assert not list(tmp_path.glob("*.pth"))
