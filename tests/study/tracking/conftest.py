"""A journal's events; an MLflow database for each test, or an experiment of a shared server."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from study.journal.events import (
    ConfigurationChosen,
    EngineChanged,
    Entry,
    Event,
    LaunchBegan,
    Reported,
    StudyDescribed,
    StudyFinished,
    TrialAsked,
    TrialEnded,
    TrialPlaced,
)
from study.tracking import MlflowWriter, TrackingError, check
from study.tracking.changes import Pack
from study.tracking.store import prepare, tracking_uri

OBJECTIVE = "calibrated_negative_elbo"
_ARMS = {
    "tpe": {
        "balancer": {"name": "fixed_beta"},
        "search": {
            "space": {"beta": {"low": 0.1, "high": 10.0, "log": True}},
            "sampler": {"name": "tpe"},
            "pruner": None,
            "trials": 3,
            "replicates": 1,
        },
    },
    "auto": {"balancer": {"name": "learned_sigma"}, "search": None},
}
_ROLES = {"tpe": {"hand_tuned": True, "why": "sets beta"}, "auto": {"hand_tuned": False, "why": ""}}


class Journal:
    """Writes events as the driver would, with times that repeat."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.entries: list[Entry] = []
        self._clock = itertools.count()

    def add(self, event: Event) -> Entry:
        entry = Entry(len(self.entries), 1_700_000_000 + next(self._clock) / 8, event)
        self.entries.append(entry)
        return entry

    def lose(self, count: int) -> None:
        """As where the disk damaged the tail: the next events have numbers that were used."""
        del self.entries[-count:]

    def begin(self, **spec: Any) -> None:
        self.add(
            StudyDescribed(
                name=self.home.name,
                spec={
                    "question": "does a search pay?",
                    "objective": OBJECTIVE,
                    "arms": _ARMS,
                    **spec,
                },
                spec_hash="5e" * 32,
                code_version="0.1.0",
                data={
                    "name": "digits",
                    "shape": [1, 8, 8],
                    "files": {s: f"/d/{s}.arrow" for s in ("train", "validation", "test")},
                    "sha256": {"train": "a" * 64, "validation": "c" * 64, "test": "b" * 64},
                    "counts": {"train": 1500, "validation": 200, "test": 297},
                },
                roles=_ROLES,
            )
        )
        self.launch()

    def launch(self) -> None:
        self.add(LaunchBegan(epoch=1, pid=1, host="here", command=["study", "launch"]))

    def engine(self, name: str, state: str = "started", **more: Any) -> None:
        self.add(EngineChanged(name, state, device="cpu", width=4, startup_seconds=1.0, **more))

    def choose(self, number: int | None, value: float | None = None) -> Entry:
        return self.add(ConfigurationChosen(arm="tpe", replicate=0, number=number, value=value))

    def finish(self) -> Entry:
        return self.add(StudyFinished())

    def ask(self, number: int, *, arm: str = "tpe", seed: int = 7, **more: Any) -> str:
        phase = "confirm" if "chosen_from" in more else "search"
        trial = f"{arm}.{phase}.r0.{number:04d}"
        if more.get("retry_of"):
            trial = f"{trial}.retry1"
        asked = TrialAsked(
            trial=trial,
            arm=arm,
            phase=phase,
            replicate=0,
            number=number,
            seed=seed,
            params={"beta": 0.5 + number},
            settings={
                "model": {"name": "mlp", "latent": 8},
                "training": {"lr": 1e-3, "dequantize": False},
                "balancer": {"name": "fixed_beta", "beta": 0.5 + number},
            },
        )
        self.add(replace(asked, **more))
        return trial

    def start(self, trial: str, width: int = 4) -> None:
        self.add(TrialPlaced(trial, engine="e0", shape="mlp", key={"width": width, "dtype": "f"}))

    def report(self, trial: str, step: int, *, redone: bool = False, **metrics: float) -> None:
        objective = {"train/S": 9.0 / step, "validation/calibrated_negative_elbo": 100.0 / step}
        self.add(
            Reported(
                trial=trial,
                step=step,
                images=step * 1000,
                metrics={**objective, **metrics},
                seconds={"training": 0.5, "evaluation": 0.25},
                engine="e0",
                redone=redone,
            )
        )

    def end(self, trial: str, step: int, state: str = "complete", **more: Any) -> None:
        value = 100.0 / step if step else None
        metrics = {"test/calibrated_negative_elbo": 101.0 / step} if step else {}
        self.add(replace(TrialEnded(trial, state, step, value, metrics=metrics), **more))

    def train(self, trial: str, reports: int = 3, **end: Any) -> None:
        self.start(trial)
        for step in range(1, reports + 1):
            self.report(trial, step)
        self.end(trial, reports, **end)

    def two_arms(self) -> None:
        """A searching arm of two trials and an automatic arm, each confirmed on two seeds."""
        self.begin()
        for number in range(2):
            self.train(self.ask(number), reports=2 + number)
        self.choose(1, 100 / 3)
        for arm, chosen in (("tpe", 1), ("auto", None)):
            for number, seed in enumerate((101, 102)):
                trial = self.ask(number, arm=arm, seed=seed, chosen_from=chosen)
                self.train(trial, reports=4 - number, artifacts=self.pictures(trial))
        self.finish()

    def pictures(self, trial: str) -> dict[str, str]:
        """Files such as a confirm run leaves behind, as its last event lists them."""
        artifacts = {}
        for name, suffix in (("checkpoint", "pt"), ("samples", "png"), ("reconstructions", "png")):
            path = self.home / "artifacts" / f"{trial}.{name}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(f"{name} of {trial}".encode())
            artifacts[name] = str(path.relative_to(self.home))
        return artifacts

    def pack(self, trial: str, folder: Path) -> None:
        """Makes a folder such as the driver's writer logs as a model."""
        folder.mkdir()
        (folder / "MLmodel").write_text(trial)


class Store:
    """An MLflow store: filled by writers, read back by a client.

    Args:
        uri: where it is.
        study: the only study to read back, by default all.
    """

    def __init__(self, uri: str, study: str | None = None) -> None:
        self.uri = uri
        self._filter = None if study is None else f"name = '{study}'"
        self.client = MlflowClient(uri)

    def write(self, home: Path, events: Iterable[Any], pack: Pack | None = None) -> None:
        """One driver's life: a writer that gets ``events`` and is closed."""
        writer = MlflowWriter(self.uri, home, lambda: True, pack or Journal(home).pack)
        for event in events:
            writer.send(event)
        assert writer.close(60) == 0, writer.problem

    def forget(self) -> None:
        """As after a death between writing metrics and noting that they were written."""
        for run in self.runs().values():
            if "study.last_event" in run.data.tags:
                self.client.delete_tag(run.info.run_id, "study.last_event")

    def runs(self) -> dict[str, Any]:
        """All runs of the experiments by their key; fails where two runs share one."""
        experiments = [
            each.experiment_id
            for each in self.client.search_experiments(filter_string=self._filter)
        ]
        found = list(self.client.search_runs(experiments, max_results=1000))
        by_key = {run.data.tags["study.run"]: run for run in found}
        assert len(by_key) == len(found)
        return by_key

    def history(self, run: Any, metric: str) -> list[tuple[int, float, int]]:
        """(step, value, timestamp) of every stored row of a metric."""
        rows = self.client.get_metric_history(run.info.run_id, metric)
        return sorted((row.step, row.value, row.timestamp) for row in rows)

    def steps(self, run: Any) -> dict[str, list[int]]:
        """Metric -> the steps stored, doubles included."""
        return {name: [row[0] for row in self.history(run, name)] for name in run.data.metrics}

    def content(self, run: Any) -> dict[str, Any]:
        """All that a run holds, except what is every one's own."""
        own = {"mlflow.runName", "mlflow.user", "mlflow.parentRunId", "study.model"}
        return {
            "status": run.info.status,
            "histories": {name: self.history(run, name) for name in run.data.metrics},
            "params": run.data.params,
            "tags": {k: v for k, v in run.data.tags.items() if k not in own},
            "files": self.artifacts(run),
        }

    def artifacts(self, run: Any, folder: str | None = None) -> dict[str, str]:
        """Path in the run -> text of the file."""
        found: dict[str, str] = {}
        for item in self.client.list_artifacts(run.info.run_id, folder):
            if item.is_dir:
                found |= self.artifacts(run, item.path)
            else:
                local = self.client.download_artifacts(run.info.run_id, item.path)
                found[item.path] = Path(local).read_text()
        return found


_UI = """
import sys
from pathlib import Path
from study.tracking import serve_ui
sys.exit(serve_ui(Path(sys.argv[1]), sys.argv[3], int(sys.argv[2])))
"""


class Server:
    """``study ui`` on the studies' home, on a port of its own.

    Args:
        studies: the home.
        host: that it listens on.
        options: of ``mlflow server``, which then runs instead, as elsewhere without this platform.
        environment: its variables.
    """

    def __init__(
        self,
        studies: Path,
        options: Sequence[str] = (),
        host: str = "127.0.0.1",
        **environment: str,
    ) -> None:
        self.studies, self.options, self.environment = studies, options, environment
        self.host = host
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-c", _UI, str(self.studies), str(self.port), self.host]
        if self.options:
            store = ["--backend-store-uri", tracking_uri(self.studies)]
            store += ["--artifacts-destination", str(self.studies / "artifacts")]
            command = [sys.executable, "-m", "mlflow", "server", "--port", str(self.port)]
            command += [*store, "--workers", "1", *self.options]
        # A session of its own, so that all of its processes can be killed by its id.
        self.process = subprocess.Popen(
            command,
            env=os.environ | self.environment,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def wait(self) -> None:
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline:
            try:
                return check(self.uri)
            except TrackingError:
                time.sleep(0.1)
        raise AssertionError("the server did not start")

    def signal(self, number: int) -> None:
        assert self.process is not None
        os.killpg(self.process.pid, number)

    def kill(self) -> None:
        assert self.process is not None
        if self.process.poll() is None:
            self.signal(signal.SIGKILL)
            self.process.wait()


@pytest.fixture
def server(studies: Path) -> Iterator[Server]:
    server = Server(studies)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def open_server(
    database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Server]:
    """``study ui`` on every address of the machine."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copy(database, tmp_path / "mlflow.db")
    server = Server(tmp_path, host="0.0.0.0")
    server.start()
    server.wait()
    yield server
    server.kill()


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow database; making one takes seconds, copying it does not."""
    home = tmp_path_factory.mktemp("mlflow")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        prepare(tracking_uri(home))
    return home / "mlflow.db"


@pytest.fixture(scope="session")
def shared_server(database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that tests share, each with a study, and so an experiment, of its own."""
    home = tmp_path_factory.mktemp("shared")
    shutil.copy(database, home / "mlflow.db")
    server = Server(home)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        server.start()
    server.wait()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def start(database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Any]]:
    """Starts ``mlflow server`` with options and variables, on a database of its own."""
    servers = []

    def start(*options: str, **environment: str) -> Server:
        home = tmp_path_factory.mktemp("server")
        shutil.copy(database, home / "mlflow.db")
        quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        servers.append(Server(home, options, **quiet, **environment))
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv("MLFLOW_TRACKING_URI", raising=False)
            servers[-1].start()
        return servers[-1]

    yield start
    for server in servers:
        server.kill()


@pytest.fixture
def studies(tmp_path: Path, database: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A studies' home whose embedded store is ready."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    home = tmp_path / "studies"
    home.mkdir()
    shutil.copy(database, home / "mlflow.db")
    return home


@pytest.fixture
def journal(studies: Path) -> Journal:
    home = studies / "digits-beta"
    home.mkdir()
    (home / "spec.yaml").write_text("name: digits-beta\n")
    return Journal(home)


@pytest.fixture
def store(studies: Path) -> Store:
    """The embedded store of ``studies``."""
    return Store(tracking_uri(studies))


@pytest.fixture
def store_at() -> Callable[..., Store]:
    return Store
