"""Journals of made-up studies whose numbers are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import log
from typing import Any

from study.journal.events import (
    ConfigurationChosen,
    EngineChanged,
    Entry,
    Event,
    LaunchBegan,
    Reported,
    ShapeTimed,
    StudyDescribed,
    TrialAsked,
    TrialEnded,
    TrialPlaced,
)

D = 64
REPORTS = 2
IMAGES = 1000  # a whole trial; a pruned one stops at half
RATE = 0.001  # standard device seconds per image


def bits(elbo: float) -> float:
    return elbo / (D * log(2)) + 8


def role_of(arm: Mapping[str, Any], why: str) -> dict[str, Any]:
    if not why and "beta" in (arm.get("search") or {}).get("space", {}):
        why = "searches beta"
    return {"hand_tuned": bool(why), "why": why}


@dataclass
class Stream:
    """Entries of one study's journal.

    An arm is hand-tuned if it searches beta, or if ``hand_tuned`` says why it is.
    """

    arms: Mapping[str, Mapping[str, Any]]
    seeds: Sequence[int] = (101, 102, 103)
    objective: str = "calibrated_negative_elbo"
    pilot: bool = True
    evaluation: Mapping[str, Any] | None = None
    margin: float | None = None
    design: str = "same_seeds"
    hand_tuned: Mapping[str, str] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)
    engine: str = "e1.0"

    def __post_init__(self) -> None:
        spec = {
            "name": "toy",
            "question": "does it pay?",
            "objective": self.objective,
            "seeds": list(self.seeds),
            "training": {"lr": 1e-3},
            "arms": {k: dict(v) for k, v in self.arms.items()},
            "margin": self.margin,
        }
        if self.evaluation is not None:  # journals of old say nothing of it
            spec["evaluation"] = dict(self.evaluation)
        roles = {
            name: role_of(arm, self.hand_tuned.get(name, "")) for name, arm in self.arms.items()
        }
        self.emit(StudyDescribed("toy", spec, spec_hash="abc", code_version="1", roles=roles,
                                 design=self.design))  # fmt: skip
        self.launch()
        self.start_engine(self.engine)
        if self.pilot:
            self.emit(ShapeTimed("mlp-8", width=2, seconds_per_image=RATE))

    @property
    def spec(self) -> dict[str, Any]:
        described = self.entries[0].event
        assert isinstance(described, StudyDescribed)
        return dict(described.spec)

    def describe(self, **spec: Any) -> None:
        """Change keys of the spec in the study's description."""
        described = self.entries[0].event
        assert isinstance(described, StudyDescribed)
        changed = replace(described, spec={**described.spec, **spec})
        self.entries[0] = self.entries[0]._replace(event=changed)

    def emit(self, event: Event) -> None:
        self.entries.append(Entry(len(self.entries), 1000.0 + len(self.entries), event))

    def launch(self, epoch: int = 1) -> None:
        self.emit(LaunchBegan(epoch, pid=epoch, host="h", command=["study", "launch"]))

    def measure(self, metrics: Mapping[str, float]) -> None:
        """Change metrics of the last event, the end of a trial."""
        entry = self.entries[-1]
        assert isinstance(entry.event, TrialEnded)
        changed = replace(entry.event, metrics={**entry.event.metrics, **metrics})
        self.entries[-1] = entry._replace(event=changed)

    def start_engine(self, engine: str, startup: float = 4.0) -> None:
        self.engine = engine
        self.emit(EngineChanged(engine, "started", "cpu", width=2, startup_seconds=startup))

    def stop_engine(
        self, state: str = "stopped", unreported: Mapping[str, float] | None = None,
        **seconds: float,
    ) -> None:  # fmt: skip
        self.emit(EngineChanged(self.engine, state, "cpu", width=2, seconds=seconds,
                                unreported=unreported or {}))  # fmt: skip

    def ask(
        self, arm: str, phase: str, number: int, seed: int, params: Mapping[str, Any],
        replicate: int = 0, chosen_from: int | None = None, retry_of: str | None = None,
        drawn_by: str = "", stage: str = "", course: Mapping[str, Any] | None = None,
    ) -> str:  # fmt: skip
        origin = "fixed" if chosen_from is None else f"from{chosen_from}"
        suffix = "" if phase == "search" else f".{origin}"
        trial = f"{arm}.{phase}.r{replicate}{suffix}.{number:04d}"
        if retry_of is not None:
            trial = f"{trial}.retry{1 + retry_of.count('.retry')}"
        self.emit(TrialAsked(
            trial, arm, phase, replicate, number, seed, params=dict(params),
            settings={"model": {"z": 1}, "balancer": dict(params)},
            chosen_from=chosen_from, retry_of=retry_of, drawn_by=drawn_by, stage=stage,
            course=course or {},
        ))  # fmt: skip
        return trial

    def begin(self, trial: str, key: Mapping[str, Any] | None = None) -> None:
        self.emit(TrialPlaced(trial, self.engine, "mlp-8", key=key or {"torch": "2", "K": 2}))

    def report(
        self, trial: str, step: int, value: float, engine: str = "", redone: bool = False
    ) -> None:  # fmt: skip
        metrics = {
            "train/loss": value - 1,
            "beta": 0.25,
            "validation/calibrated_negative_elbo": value,
            "validation/bits_per_dim": bits(value),
        }
        seconds = {"training": 1.0, "evaluation": 0.25}
        self.emit(Reported(trial, step, IMAGES * step // REPORTS, metrics, seconds,
                           engine or self.engine, redone))  # fmt: skip

    def end(
        self, trial: str, state: str, value: float | None, test: float | None = None,
        closely: Mapping[str, float | None] | None = None,
    ) -> None:  # fmt: skip
        metrics: dict[str, float | None] = {}
        if test is not None:
            metrics = {"test/calibrated_negative_elbo": test, "test/bits_per_dim": bits(test),
                       "test/MSE": 0.01, "test/R": 5.0, "test/active_units": 3.0}  # fmt: skip
        metrics |= {f"test/{name}": found for name, found in (closely or {}).items()}
        reason = "diverged at step 1" if state == "failed" else ""
        self.emit(TrialEnded(trial, state, REPORTS, value, reason, metrics,
                             seconds={"evaluation": 0.5}))  # fmt: skip

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
        drawn_by: Sequence[str] | None = None,
    ) -> None:  # fmt: skip
        """A whole search: a value per trial, None for one that failed, 1e6 more for a pruned.

        ``tests`` are what the trials score on test, ``betas`` what they tried, ``drawn_by`` what
        drew them.
        """
        for number, value in enumerate(values):
            beta = 0.5 + number if betas is None else betas[number]
            trial = self.ask(arm, "search", number, 7000 + number, {"beta": beta}, replicate,
                             drawn_by=drawn_by[number] if drawn_by else "")  # fmt: skip
            if value is None:
                self.train(trial, "failed", None)
            elif value >= 1e6:
                self.train(trial, "pruned", value - 1e6)
            else:
                self.train(trial, "complete", value, tests[number] if tests else None)
        whole = [(v, n) for n, v in enumerate(values) if v is not None and v < 1e6]
        if whole:
            value, number = min(whole)
            self.emit(ConfigurationChosen(arm, replicate, number, value))

    def confirm(
        self, arm: str, tests: Mapping[int, float | None], *, chosen_from: int | None = None,
        replicate: int = 0, gap: float = 0.5,
        closely: Sequence[Mapping[str, float | None]] = (), stage: str = "", first: int = 0,
    ) -> None:  # fmt: skip
        """Confirm runs, seed -> test value; validation is ``gap`` below it. None failed.

        ``closely`` is what else each of them was measured by on test, ``first`` the number of the
        first run.
        """
        for number, (seed, test) in enumerate(tests.items()):
            params = {} if chosen_from is None else {"beta": 0.5 + chosen_from}
            trial = self.ask(
                arm, "confirm", first + number, seed, params, replicate, chosen_from, stage=stage
            )
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
