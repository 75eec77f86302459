"""A study whose journal a real conductor wrote, from reports made up here; no Ray, no training."""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from smoke import Smoke
from smoke import run as run_smoke

from benchmarks.made_up import begin, follow
from study.journal import StudyHome, journal_file
from study.journal.events import EngineChanged, StudyFinished
from study.journal.lease import Holder
from study.journal.lines import control
from study.search import Conductor, Request
from study.spec import StudySpec
from vae_core.data import PreparedData, prepare

TOLD: dict[str, Any] = {
    "name": "told",
    "question": "What does a reader see?",
    "data": "digits",
    "model": {"name": "mlp", "latent": 4, "width": 8},
    "training": {"epochs": 2, "batch_size": 100, "reports": 2},
    "seeds": [0, 1],
    "arms": {
        "random": {
            "balancer": "fixed_beta",
            "search": {"space": {"beta": {"low": 1e-3, "high": 10, "log": True}}, "trials": 3},
        },
        "optimal": {"balancer": "optimal_sigma"},
    },
}
CRASHED = "random.search.r0.0001"
TRACEBACK = "Traceback (most recent call last):\nRuntimeError: the decoder met its end\n"
ENGINES = [EngineChanged("e1", "started", "cpu", 1, startup_seconds=2.0)]
KEY = {"device": "cpu", "threads": 1, "width": 1}


def made_up(request: Request, step: int) -> dict[str, Any]:
    """Report ``step`` of a trial whose objective is best at beta 0.1."""
    beta = request.settings["balancer"].get("beta", 0.1)
    elbo = 10 + math.log10(beta / 0.1) ** 2 + 1 / step + request.seed % 89 / 1000
    metrics = {"calibrated_negative_elbo": elbo, "bits_per_dim": elbo / 44, "MSE": 0.05, "R": 3.0}
    found: dict[str, Any] = {
        "step": step,
        "images": step * 1350,
        "metrics": {"train/S": 3.2, "train/R": 3.0, "beta": beta}
        | {f"validation/{name}": value for name, value in metrics.items()},
        "seconds": {"training": 0.5, "evaluation": 0.1},
        "engine": "e1",
        "start": {"engine": "e1", "shape": "mlp-4", "key": KEY, "seconds_per_image": 1e-4},
    }
    if request.trial == CRASHED:
        found["metrics"] = {}
        found["end"] = {"state": "failed", "reason": "crashed", "traceback": TRACEBACK}
    elif step == 2:
        tested = {f"test/{name}": value for name, value in metrics.items()}
        found["end"] = {"state": "complete", "metrics": tested}
    return found


@pytest.fixture
def follow_up() -> Callable[..., None]:
    """Gives a conductor all the reports it waits for, or so many."""
    return lambda conductor, reports=None: follow(conductor, made_up, reports)


@pytest.fixture
def told_spec() -> StudySpec:
    return StudySpec.from_dict(TOLD)


@pytest.fixture(scope="session")
def tell() -> Callable[[Mapping[str, Any], Path], StudyHome]:
    """Runs a study whole, from reports made up here, and returns its home."""

    def tell(data: Mapping[str, Any], studies: Path) -> StudyHome:
        spec = StudySpec.from_dict(data)
        home = StudyHome(studies, spec.name)
        journal = begin(spec, home, ENGINES)
        conductor = Conductor(spec, journal, dims=64, slots=1)
        follow(conductor, made_up)
        assert conductor.drained
        conductor.note(StudyFinished())
        journal.close()
        return home

    return tell


@pytest.fixture(scope="session")
def told(
    tell: Callable[[Mapping[str, Any], Path], StudyHome], tmp_path_factory: pytest.TempPathFactory
) -> StudyHome:
    """A finished study: 3 search trials, one of them crashed, and 2 confirm runs an arm."""
    return tell(TOLD, tmp_path_factory.mktemp("studies"))


@pytest.fixture
def conducting(
    told_spec: StudySpec, tmp_path: Path
) -> Iterator[Callable[[int], tuple[Conductor, StudyHome]]]:
    """Begin the study anew and stop after so many reports, the last trial still running."""
    journals = []

    def make(reports: int) -> tuple[Conductor, StudyHome]:
        home = StudyHome(tmp_path, told_spec.name)
        journals.append(begin(told_spec, home, ENGINES))
        conductor = Conductor(told_spec, journals[-1], dims=64, slots=1)
        follow(conductor, made_up, reports)
        return conductor, home

    yield make
    for journal in journals:
        journal.close()


@pytest.fixture
def abandoned(conducting: Callable[[int], tuple[Conductor, StudyHome]]) -> StudyHome:
    """A study whose driver ended nine hours ago with its machine, which has booted again since."""
    conductor, home = conducting(4)
    conductor.journal.close()
    died = time.time() - 9 * 3600
    holder = Holder(1, 1, socket.gethostname(), "former-boot pid:[1]", died)
    file = journal_file(home.path, conductor.journal.epoch + 1)
    file.write_bytes(control(conductor.journal.epoch + 1, died, "lease", asdict(holder)))
    os.utime(file, (died, died))
    return home


@pytest.fixture(scope="session")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Smoke]:
    """The smoke study, killed in every way and finished, and the undisturbed one."""
    yield from run_smoke(tmp_path_factory.mktemp("smoke"))


@pytest.fixture(scope="session")
def reference(smoke: Smoke) -> Path:
    """The studies' home of a whole study that ran undisturbed on one engine."""
    return smoke.reference


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    return prepare({"name": "digits"}, tmp_path_factory.mktemp("store"))
