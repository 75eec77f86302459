"""Journals of made-up studies whose numbers are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import log
from typing import Any

D = 64
REPORTS = 2
IMAGES = 1000  # a whole trial; a pruned one stops at half
RATE = 0.001  # standard device seconds per image


@dataclass(frozen=True)
class Line:
    sequence: int
    time: float
    kind: str
    data: Mapping[str, Any]


def bits(elbo: float) -> float:
    return elbo / (D * log(2)) + 8


@dataclass
class Stream:
    """Events of one study, in the order a journal would have them."""

    arms: Mapping[str, Mapping[str, Any]]
    seeds: Sequence[int] = (101, 102, 103)
    objective: str = "calibrated_elbo"
    pilot: bool = True
    evaluation: Mapping[str, Any] | None = None
    margin: float | None = None
    lines: list[Line] = field(default_factory=list)
    engine: str = "e1.0"

    def __post_init__(self) -> None:
        spec = {
            "name": "toy",
            "question": "does it pay?",
            "objective": self.objective,
            "seeds": list(self.seeds),
            "arms": {k: dict(v) for k, v in self.arms.items()},
            "margin": self.margin,
        }
        if self.evaluation is not None:  # journals of old say nothing of it
            spec["evaluation"] = dict(self.evaluation)
        self.emit("study", name="toy", spec=spec, spec_hash="abc", code_version="1", data={})
        self.emit("launch", epoch=1, pid=1, host="h", command="study launch")
        self.start_engine(self.engine)
        if self.pilot:
            self.emit("pilot", shape="mlp-8", width=2, seconds_per_image=RATE)

    @property
    def spec(self) -> dict[str, Any]:
        return dict(self.lines[0].data["spec"])

    def emit(self, kind: str, **data: Any) -> None:
        self.lines.append(Line(len(self.lines), 1000.0 + len(self.lines), kind, data))

    def start_engine(self, engine: str, startup: float = 4.0, **more: Any) -> None:
        self.engine = engine
        self.emit("engine", engine=engine, state="started", device="cpu", width=2,
                  startup_seconds=startup, **more)  # fmt: skip

    def stop_engine(
        self, state: str = "stopped", unreported: Mapping[str, float] | None = None,
        **seconds: float,
    ) -> None:  # fmt: skip
        self.emit("engine", engine=self.engine, state=state, device="cpu", width=2,
                  startup_seconds=0.0, seconds=seconds, unreported=unreported or {})  # fmt: skip

    def ask(
        self, arm: str, phase: str, number: int, seed: int, params: Mapping[str, Any],
        replicate: int = 0, chosen_from: int | None = None, retry_of: str | None = None,
    ) -> str:  # fmt: skip
        origin = "fixed" if chosen_from is None else f"from{chosen_from}"
        suffix = "" if phase == "search" else f".{origin}"
        trial = f"{arm}.{phase}.r{replicate}{suffix}.{number:04d}"
        if retry_of is not None:
            trial = f"{trial}.retry{1 + retry_of.count('.retry')}"
        self.emit(
            "trial", trial=trial, arm=arm, phase=phase, replicate=replicate, number=number,
            seed=seed, params=dict(params), settings={"model": {"z": 1}, "balancer": dict(params)},
            chosen_from=chosen_from, retry_of=retry_of,
        )  # fmt: skip
        return trial

    def begin(self, trial: str, key: Mapping[str, Any] | None = None) -> None:
        self.emit("start", trial=trial, engine=self.engine, shape="mlp-8",
                  key=key or {"torch": "2", "K": 2})  # fmt: skip

    def report(
        self, trial: str, step: int, value: float, engine: str = "", **extra: Any
    ) -> None:  # fmt: skip
        metrics = {"train/loss": value - 1, "beta": 0.25, "validation/calibrated_elbo": value,
                   "validation/bits_per_dim": bits(value)}  # fmt: skip
        seconds = {"training": 1.0, "evaluation": 0.25}
        self.emit("report", trial=trial, step=step, images=IMAGES * step // REPORTS,
                  metrics=metrics, seconds=seconds, engine=engine or self.engine,
                  **extra)  # fmt: skip

    def end(
        self, trial: str, state: str, value: float | None, test: float | None = None,
        closely: Mapping[str, float | None] | None = None,
    ) -> None:  # fmt: skip
        metrics: dict[str, float | None] = {}
        if test is not None:
            metrics = {"test/calibrated_elbo": test, "test/bits_per_dim": bits(test),
                       "test/MSE": 0.01, "test/R": 5.0, "test/active_units": 3.0}  # fmt: skip
        metrics |= {f"test/{name}": found for name, found in (closely or {}).items()}
        reason = "diverged at step 1" if state == "failed" else ""
        self.emit("end", trial=trial, state=state, step=REPORTS, value=value, metrics=metrics,
                  reason=reason, seconds={"evaluation": 0.5}, artifacts={},
                  traceback="")  # fmt: skip

    def train(
        self, trial: str, state: str, value: float | None, test: float | None = None,
        closely: Mapping[str, float | None] | None = None,
    ) -> None:  # fmt: skip
        self.begin(trial)
        if value is not None:
            self.report(trial, 1, value + 1)
            if state == "complete":
                self.report(trial, 2, value)
        self.end(trial, state, value, test, closely)

    def search(
        self, arm: str, values: Sequence[float | None], replicate: int = 0,
        tests: Sequence[float] | None = None, betas: Sequence[float] | None = None,
    ) -> None:  # fmt: skip
        """A whole search: a value per trial, None for one that failed, 1e6 more for a pruned.

        ``tests`` are what the trials score on test, ``betas`` what they tried.
        """
        for number, value in enumerate(values):
            beta = 0.5 + number if betas is None else betas[number]
            trial = self.ask(arm, "search", number, 7000 + number, {"beta": beta}, replicate)
            if value is None:
                self.train(trial, "failed", None)
            elif value >= 1e6:
                self.train(trial, "pruned", value - 1e6)
            else:
                self.train(trial, "complete", value, tests[number] if tests else None)
        whole = [(v, n) for n, v in enumerate(values) if v is not None and v < 1e6]
        if whole:
            value, number = min(whole)
            self.emit("choice", arm=arm, replicate=replicate, number=number, value=value)

    def confirm(
        self, arm: str, tests: Mapping[int, float | None], *, chosen_from: int | None = None,
        replicate: int = 0, gap: float = 0.5,
        closely: Sequence[Mapping[str, float | None]] = (),
    ) -> None:  # fmt: skip
        """Confirm runs, seed -> test value; validation is ``gap`` below it. None failed.

        ``closely`` is what else each of them was measured by on test.
        """
        for number, (seed, test) in enumerate(tests.items()):
            params = {} if chosen_from is None else {"beta": 0.5 + chosen_from}
            trial = self.ask(arm, "confirm", number, seed, params, replicate, chosen_from)
            if test is None:
                self.train(trial, "failed", None)
            else:
                found = closely[number] if closely else None
                self.train(trial, "complete", test - gap, test, found)


HAND = {
    "balancer": {"name": "fixed_beta", "reduction": "half_sum"},
    "search": {
        "space": {"beta": {"low": 0.5, "high": 50.0, "log": True}},
        "trials": 4,
        "replicates": 1,
        "sampler": {"name": "tpe"},
        "pruner": {"name": "median"},
    },
}
AUTOMATIC = {"balancer": {"name": "learned_sigma", "reduction": "half_sum", "k": 1.0},
             "search": None}  # fmt: skip
