"""Whatever is killed: every second is charged once, and results stay."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from math import fsum
from typing import Any

import pyarrow as pa
import pytest

from study.analysis.records.engine_time import PURPOSES
from study.analysis.records.tables import build_tables, study_facts
from study.journal.events import (
    EngineChanged,
    EngineDied,
    Reported,
    StudyFinished,
    StudyInterrupted,
    TrialEnded,
    TrialPlaced,
    TrialSuspended,
)

REPORTS, IMAGES, WIDTH, TRIALS = 4, 500, 2, 4
CHANGED_BY_CRASHES = re.compile("seconds|redone|lost|started|ended|engine")


@dataclass
class Disk:
    """A trial's checkpoints: the reports in them, and seconds of the segment that is begun."""

    reports: list[dict[str, Any]] = field(default_factory=list)
    begun: bool = False


@dataclass
class Slot:
    """A trial in a slot."""

    after: int
    done: list[dict[str, Any]]
    begun: bool
    unreported: float = 0.0
    stage: float = 0.0
    """Seconds of its second stage, which comes after its last step; not reported yet either."""
    delivered: int = 0
    mine: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Engine:
    """What an engine really spends, and its last account of that."""

    name: str
    spent: dict[str, float] = field(default_factory=lambda: dict.fromkeys(
        ("start_up", "training", "evaluation", "second_stage", "idle_slots", "waiting"),
        0.0))  # fmt: skip
    trials: dict[str, Slot] = field(default_factory=dict)
    left: dict[str, float] = field(default_factory=dict)
    heartbeat: dict[str, Any] | None = None

    def account(self) -> dict[str, Any]:
        unreported = dict(self.left)
        for trial, run in self.trials.items():
            unreported[trial] = unreported.get(trial, 0.0) + run.unreported + run.stage
        return {
            **{"engine": self.name, "device": "cpu", "width": WIDTH},
            "startup_seconds": self.spent["start_up"],
            "seconds": dict(self.spent),
            "unreported": unreported,
        }


class World:
    """Engines that train four trials and a driver that journals it, any of which may die."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.names = [stream.ask("sigma", "confirm", n, 100 + n, {}) for n in range(TRIALS)]
        self.disks = {name: Disk() for name in self.names}
        self.known = dict.fromkeys(self.names, 0)
        self.made: set[tuple[str, str, int]] = set()
        self.place = dict.fromkeys(self.names, "")
        self.ended: set[str] = set()
        self.engines: list[Engine] = []
        self.all: list[Engine] = []
        self.redone = 0

    # -- what happens without faults ------------------------------------------------------------

    def start(self, n: int, seconds: float) -> None:
        if len(self.engines) < 2:
            engine = Engine(f"e{len(self.all)}")
            engine.spent["start_up"] = seconds
            self.engines.append(engine)
            self.all.append(engine)
            if n % 3:  # else it dies, if it does, before the driver knows of it
                identity = {k: v for k, v in engine.account().items() if k not in
                            ("seconds", "unreported")}  # fmt: skip
                self.stream.emit(EngineChanged(**identity, state="started"))

    def admit(self, n: int, seconds: float) -> None:
        placed = {trial for engine in self.engines for trial in engine.trials}
        waiting = [t for t in self.names if t not in placed and t not in self.ended]
        free = [engine for engine in self.engines if len(engine.trials) < WIDTH]
        if waiting and free:
            trial, engine = waiting[n % len(waiting)], free[n % len(free)]
            disk, after = self.disks[trial], self.known[trial]
            run = Slot(after, list(disk.reports), disk.begun)
            run.mine = [r for r in run.done if r["step"] > after]
            engine.trials[trial] = run
            engine.spent["waiting"] += seconds

    def train(self, n: int, seconds: float) -> None:
        for engine, trial, run in self._running(n):
            if len(run.done) == REPORTS:
                continue
            engine.spent["training"] += seconds
            engine.spent["idle_slots"] += seconds * (WIDTH - len(engine.trials))
            run.unreported += seconds
            step = len(run.done) + 1
            if step == REPORTS:
                engine.spent["second_stage"] += seconds / 2
                run.stage += seconds / 2
            if n % 4 == 0:
                run.begun = True
                continue
            training, run.unreported, run.begun = run.unreported, 0.0, False
            stage, run.stage = run.stage, 0.0
            engine.spent["evaluation"] += seconds / 4
            value = 10.0 - step + self.names.index(trial)
            report = {
                **{"step": step, "images": step * IMAGES, "engine": engine.name},
                "metrics": {"validation/calibrated_negative_elbo": value},
                "seconds": {
                    "training": training, "evaluation": seconds / 4, "second_stage": stage,
                },
            }  # fmt: skip
            run.done.append(report)
            run.mine.append(report)
            self.disks[trial] = Disk(list(run.done))

    def deliver(self, n: int, seconds: float) -> None:
        for engine, trial, run in self._running(n):
            delivered, run.delivered = run.delivered, len(run.mine)
            for report in run.mine[max(0, delivered - n % 2) :]:  # one of them perhaps twice
                self._take(engine, trial, report)
            if trial in self.ended:
                del engine.trials[trial]

    def _take(self, engine: Engine, trial: str, report: dict[str, Any]) -> None:
        if self.place[trial] != engine.name:
            self.place[trial] = engine.name
            self.stream.emit(
                TrialPlaced(trial=trial, engine=engine.name, shape="mlp-8", key={"K": 2})
            )
        made = (trial, report["engine"], report["step"])
        if trial in self.ended or made in self.made:
            return
        self.made.add(made)
        again = {"redone": True} if report["step"] <= self.known[trial] else {}
        if again:
            self.redone += IMAGES
        self.stream.emit(Reported(trial=trial, **report, **again))
        self.known[trial] = max(self.known[trial], report["step"])
        if report["step"] == REPORTS and not again:
            self.ended.add(trial)
            value = report["metrics"]["validation/calibrated_negative_elbo"]
            metrics = {"test/calibrated_negative_elbo": value + 1}
            self.stream.emit(TrialEnded(trial=trial, state="complete", step=REPORTS, value=value,
                             metrics=metrics))  # fmt: skip

    def _running(self, n: int) -> list[tuple[Engine, str, Slot]]:
        there = [(e, t, run) for e in self.engines for t, run in e.trials.items()]
        return [there[n % len(there)]] if there else []

    # -- faults ------------------------------------------------------------------

    def beat(self, n: int, seconds: float) -> None:
        for engine in self.engines:
            engine.heartbeat = engine.account()

    def tear(self, n: int, seconds: float) -> None:
        """Damage a newest checkpoint: it is found out once the trial is admitted again."""
        disk = self.disks[self.names[n % TRIALS]]
        if disk.begun:
            disk.begun = False
        elif disk.reports:
            disk.reports = disk.reports[:-1]

    def kill_engine(self, n: int, seconds: float) -> None:
        if self.engines:
            engine = self.engines.pop(n % len(self.engines))
            for trial in engine.trials:
                self.stream.emit(EngineDied(trial=trial, engine=engine.name))
            self._lose(engine)
            if n % 2:  # and its heartbeat file is found once more
                self._lose(engine)

    def kill_driver(self, n: int, seconds: float) -> None:
        engines, self.engines = self.engines, []
        self.place = dict.fromkeys(self.names, "")
        self.stream.launch(2)
        for engine in engines:
            self._lose(engine)

    def _lose(self, engine: Engine) -> None:
        known = engine.heartbeat or {"engine": engine.name}
        self.stream.emit(EngineChanged(**known, state="lost", cause="process"))

    def suspend(self, n: int, seconds: float) -> None:
        for engine in self.engines:
            for trial, run in list(engine.trials.items()):
                if len(run.done) < REPORTS:
                    self.stream.emit(TrialSuspended(trial=trial, engine=engine.name,
                                     seconds={"training": run.unreported,
                                              "second_stage": run.stage}))  # fmt: skip
                    self.disks[trial] = Disk(list(run.done), run.begun)
                    del engine.trials[trial]
        self.stream.emit(StudyInterrupted())

    def release(self, n: int, seconds: float) -> None:
        """A slot is taken back in the middle of a segment."""
        for engine, trial, run in self._running(n):
            engine.left[trial] = engine.left.get(trial, 0.0) + run.unreported + run.stage
            del engine.trials[trial]

    def finish(self) -> None:
        while len(self.ended) < TRIALS:
            self.start(1, 2.0)
            self.admit(0, 0.25)
            for n in range(2 * WIDTH):
                if (n + 1) % 4:
                    self.train(n + 1, 1.0)
                self.deliver(n, 0.0)
        for engine in self.engines:
            self.stream.emit(EngineChanged(**engine.account(), state="stopped"))
        self.stream.emit(StudyFinished())


WEIGHTS = {
    **{"start": 2, "admit": 4, "train": 8, "deliver": 3, "beat": 2, "tear": 1},
    **{"kill_engine": 1, "kill_driver": 0.5, "suspend": 0.5, "release": 0.5},
}


def compared(tables: dict[str, pa.Table]) -> pa.Table:
    trials = tables["trials"]
    return trials.drop([name for name in trials.schema.names if CHANGED_BY_CRASHES.search(name)])


@pytest.fixture(scope="module")
def undisturbed(make_module_stream: Callable[[], Any]) -> pa.Table:
    """The table of a study without faults."""
    world = World(make_module_stream())
    world.finish()
    return compared(build_tables(world.stream.entries))


@pytest.mark.parametrize("seed", range(0, 300, 10))
def test_every_second_is_charged_once_and_every_image_counts_once(
    make_module_stream: Callable[[], Any], undisturbed: pa.Table, seed: int
) -> None:
    for dice in map(random.Random, range(seed, seed + 10)):
        world = World(make_module_stream())
        for action in dice.choices([*WEIGHTS], [*WEIGHTS.values()], k=dice.randrange(120)):
            getattr(world, action)(dice.randrange(12), dice.randint(1, 40) / 8)
        check(world, undisturbed)


def check(world: World, undisturbed: pa.Table) -> None:
    world.finish()
    tables = build_tables(world.stream.entries)
    assert compared(tables).to_pylist() == undisturbed.to_pylist()
    rows = tables["trials"].to_pylist()
    assert [row["images"] for row in rows] == [REPORTS * IMAGES] * TRIALS
    assert sum(row["redone_images"] for row in rows) == world.redone
    assert min(row[f"{purpose}_seconds"] for row in rows for purpose in PURPOSES) >= 0
    assert min(row["second_stage_seconds"] for row in rows) > 0

    engines = {engine["engine"]: engine for engine in study_facts(tables["trials"])["engines"]}
    engines.pop("e1.0")  # the stream's own: no trial trains there
    nobody = [seconds for engine in engines.values() for seconds in engine["nobody"].values()]
    assert min(nobody, default=0.0) >= 0
    total = fsum(engine["total"] for engine in engines.values())
    assert fsum([*(row["billed_seconds"] for row in rows), *nobody]) == pytest.approx(
        total, rel=1e-12
    )
    for engine in world.all:
        if engine.name in engines:
            found, true = engines[engine.name], fsum(engine.spent.values())
            assert found["total"] <= true * (1 + 1e-12)
            if engine in world.engines:  # it stopped in order, with a whole account
                assert found["total"] == pytest.approx(true, rel=1e-12)
                assert found["beyond"] == pytest.approx(0.0, abs=1e-9)
