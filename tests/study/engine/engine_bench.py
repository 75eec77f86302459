"""Engines over one study's folder, in this process, and calls to them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from waiting import until

from study.engine.config import EngineConfig
from study.engine.engine import Engine
from vae_core.data import PreparedData

REPORTS, STEPS = 4, 40
"""Of the trial that :func:`request` asks for: 10 steps a report."""


def config(
    name: str, home: Path, epoch: int = 1, keep: str = "none", **evaluation: Any
) -> EngineConfig:
    """An engine's configuration, with few images to evaluate."""
    evaluation = {
        "images": 300,
        "pictures": 4,
        "objective": "calibrated_negative_elbo",
    } | evaluation
    objective = evaluation.pop("objective")
    return EngineConfig(name, str(home), "cpu", evaluation, objective, epoch, keep, weights=None)


class Bench:
    """Engines over one study's folder."""

    def __init__(self, home: Path, data: PreparedData) -> None:
        self.home, self.data, self.engines = home, data, list[Engine]()

    def engine(
        self, width: int = 1, epoch: int = 1, keep: str = "none", **evaluation: Any
    ) -> Engine:
        name = f"engine-{len(self.engines)}"
        engine = Engine(config(name, self.home, epoch, keep, **evaluation))
        engine.prepare(self.data.to_dict(), 220, width)
        self.engines.append(engine)
        return engine

    def folder(self, trial: str) -> Path:
        return self.home / "trials" / trial

    def checkpoints(self, trial: str) -> list[str]:
        return sorted(path.name for path in self.folder(trial).glob("*.ckpt"))


def request(trial: str = "a", seed: int = 1, **changes: Any) -> dict[str, Any]:
    training = {"epochs": 2, "batch_size": 64, "lr": 3e-3, "reports": REPORTS, "dequantize": False}
    model = {"name": "mlp", "latent": 4, "width": 16, **changes.pop("model", {})}
    balancer = changes.pop("balancer", {"name": "optimal_sigma"})
    settings = {"model": model, "training": training | changes.pop("training", {})}
    fixed = {
        "trial": trial,
        "phase": "search",
        "seed": seed,
        "after": 0,
        "until": None,
        "course": {},
    }
    return {**fixed, "settings": {**settings, "balancer": balancer}, **changes}


def fetch(engine: Engine, trial: str, count: int) -> list[dict[str, Any]]:
    """The first ``count`` reports, or more, of a trial that has been admitted."""
    reports: list[dict[str, Any]] = []
    while len(reports) < count:
        found = engine.reports(trial, len(reports))
        assert found, "the trial has left"
        reports += found
    return reports


def follow(engine: Engine, asked: dict[str, Any]) -> list[dict[str, Any]]:
    """All reports of a trial up to its end."""
    engine.admit(asked)
    reports = fetch_all(engine, asked["trial"])
    engine.release(asked["trial"])
    return reports


def fetch_all(engine: Engine, trial: str) -> list[dict[str, Any]]:
    """All reports of a trial that has been admitted; it keeps its slot."""
    reports = fetch(engine, trial, 1)
    while "end" not in reports[-1]:
        found = engine.reports(trial, len(reports))
        assert found, "the trial has left"
        reports += found
    return reports


def numbers(reports: list[dict[str, Any]]) -> list[str]:
    """What a neighbour, a slot or a restart may not change, to the last bit (nan equals nan)."""
    return [repr((r["step"], r["images"], r["metrics"], r.get("end"))) for r in reports]


def makers(reports: list[dict[str, Any]]) -> list[str]:
    return [report["engine"] for report in reports]


def spent(reports: list[dict[str, Any]]) -> float:
    """Device seconds that reports carry."""
    return sum(sum(report["seconds"].values()) for report in reports)


def slow_down(engine: Engine, pause: float = 0.003) -> Engine:
    """Have ``engine`` train one step at a time, and take ``pause`` seconds more for each."""

    def one_step(held: object) -> int:
        time.sleep(pause)
        return 1

    engine._training._chunk = one_step  # type: ignore[method-assign, assignment]
    return engine


def until_trained(engine: Engine, trial: str) -> None:
    """Wait until ``trial`` has trained since its last report."""
    until(lambda: engine._slots.runs[trial].unreported["training"] > 0, "steps", pause=0.001)
