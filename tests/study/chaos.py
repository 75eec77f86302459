"""Kill a small study at random moments, many times, and check that nothing was lost.

    python tests/study/chaos.py --kills 200 --seed 1

runs studies on real digits, kills processes at moments drawn from the seed, continues with ``study
resume``, and compares each finished study with one that ran undisturbed. Every wait has a limit.
Prints the result as Markdown; exit code 1 if anything was lost, duplicated, left or unequal.
"""

from __future__ import annotations

import argparse
import copy
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import harness
from harness import HarnessError, Launch, Process

from study import load

VICTIMS = {
    "engine": 25,
    "driver": 12,
    "machine": 8,
    "relay": 25,
    "mlflow": 10,
    "raylet": 5,
    "gcs": 4,
    "interrupt": 6,
    "terminate": 5,
}
"""What is killed, and how often of a hundred times.

``driver`` alone with SIGKILL; ``machine``: the driver and all its Ray's processes at once;
``interrupt``: SIGINT to the driver's process group, as a terminal sends it; ``terminate``: SIGTERM
to the driver.
"""
ENDS_DRIVER = {"driver", "machine", "interrupt", "terminate"}
MAY_END_DRIVER = {"relay", "raylet", "gcs"}
STALL = 150.0
"""Seconds without a new report, while a driver runs, that count as hanging."""
IDLE = 12
"""Launches in a row that may be ended before they reported anything."""
LOOSE = "hurried"
"""The arm with an asynchronous pruner, in the spec of :func:`chaos_spec`."""


def chaos_spec() -> dict[str, Any]:
    """The study of the whole-study tests, longer, with one more arm: an asynchronous pruner."""
    spec = copy.deepcopy(harness.SPEC)
    spec["training"] |= {"epochs": 80, "reports": 10}
    spec["arms"]["tpe"]["search"]["trials"] = 6
    search = {"space": {"beta": harness.BETA}, "trials": 4, "sampler": {"name": "random"}}
    search["pruner"] = {"name": "median", "n_startup_trials": 1}
    spec["arms"][LOOSE] = {"balancer": "fixed_beta", "search": search}
    return spec


@dataclass
class Outcome:
    """The result of a campaign."""

    killed: Counter[str] = field(default_factory=Counter)
    survived: Counter[str] = field(default_factory=Counter)
    damaged: Counter[str] = field(default_factory=Counter)
    """Damage done to files, by kind."""
    studies: int = 0
    equal: int = 0
    launches: int = 0
    finding: harness.Finding = field(default_factory=harness.Finding)
    zombies: list[str] = field(default_factory=list)
    hung: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    """Launches that ended by themselves, or with an unexpected exit code."""
    redone_images: int = 0
    seconds: Counter[str] = field(default_factory=Counter)
    """Charged to trials, by purpose."""

    @property
    def good(self) -> bool:
        """Nothing was lost, duplicated, left running or unequal."""
        return not (self.finding or self.zombies or self.hung or self.refused)

    def markdown(self) -> str:
        """The result as tables."""
        lines = ["| killed | times | survived |", "|---|---:|---:|"]
        for kind in (*VICTIMS, "all"):
            n = sum(self.killed.values()) if kind == "all" else self.killed[kind]
            s = sum(self.survived.values()) if kind == "all" else self.survived[kind]
            lines += [f"| {kind} | {n} | {s} |"] if n else []
        found = self.finding
        rows: list[tuple[str, object]] = [
            ("studies, launches", f"{self.studies}, {self.launches}"),
            *((f"files damaged: {kind}", n) for kind, n in sorted(self.damaged.items())),
            ("trials lost", len(found.lost)),
            ("trials duplicated", len(found.twice)),
            ("metric histories in MLflow unlike the journal", len(found.steps)),
            ("MLflow runs left open", len(found.open)),
            ("processes left 90 s after a study", len(self.zombies)),
            ("hung", len(self.hung)),
            ("launches ended otherwise than they should", len(self.refused)),
            ("rows of tables unlike the undisturbed study's", len(found.differing)),
            ("tables equal to the undisturbed study's", f"{self.equal} of {self.studies}"),
            ("images trained on again", f"{self.redone_images:,}"),
            *((f"{purpose} seconds charged", f"{s:.1f}") for purpose, s in self.seconds.items()),
        ]
        lines += ["", "| found | |", "|---|---:|"]
        return "\n".join(lines + [f"| {name} | {value} |" for name, value in rows])

    def troubles(self) -> str:
        """Every defect found, one a line."""
        found = {**vars(self.finding), "zombies": self.zombies}
        found |= {"hung": self.hung, "refused": self.refused}
        return "\n".join(f"{kind}: {one}" for kind, all_ in found.items() for one in all_)


def plan(kills: int, victims: Mapping[str, int], dice: random.Random) -> list[str]:
    """So many kills in the proportions of ``victims``, shuffled."""
    total = sum(victims.values())
    exact = {kind: kills * weight / total for kind, weight in victims.items()}
    counts = {kind: int(share) for kind, share in exact.items()}
    by_rest = sorted(exact, key=lambda kind: counts[kind] - exact[kind])
    for kind in by_rest[: kills - sum(counts.values())]:
        counts[kind] += 1
    planned = [kind for kind, count in counts.items() for _ in range(count)]
    dice.shuffle(planned)
    return planned


class Campaign:
    """Studies in sequence, killed as planned.

    Args:
        folder: where the studies' homes go.
        reference: the home of the same study, undisturbed; made in ``folder`` if None.
        victims: how often to kill what (see :data:`VICTIMS`).
        engines: numbers of engines, taken in turn by the studies and their relaunches.
        damage: how often, of all kills after which it can be, files are damaged too.
    """

    def __init__(
        self,
        folder: Path,
        kills: int,
        seed: int,
        *,
        spec: Mapping[str, Any] | None = None,
        reference: Path | None = None,
        victims: Mapping[str, int] = VICTIMS,
        engines: Sequence[int] = (2,),
        damage: float = 0.3,
        deadline: float = float("inf"),
    ) -> None:
        self.folder, self.engines, self.damage = folder, engines, damage
        self.spec = dict(spec or chaos_spec())
        self.name = str(self.spec["name"])
        self.dice = random.Random(seed)
        self.kills = plan(kills, victims, self.dice)
        self.deadline = time.monotonic() + deadline
        self.outcome = Outcome()
        self._reference = reference
        self._spoiled: dict[Path, int] = {}

    def run(self) -> Outcome:
        """Kill until the kills or the time are used up; finish the study; judge."""
        reference = self._reference or self._undisturbed()
        while self.kills and time.monotonic() < self.deadline:
            home = self.folder / f"studies-{self.outcome.studies}"
            try:
                self._study(home)
                self._judge(home, reference)
            except HarnessError as error:
                self.outcome.refused.append(f"{home}: {error}")
                harness.end_all(home)
            self.outcome.studies += 1
        return self.outcome

    def _undisturbed(self) -> Path:
        say("the study undisturbed, on one engine")
        start = time.monotonic()
        home = self.folder / "reference"
        harness.finish(home, spec=self.spec)
        say(f"took {time.monotonic() - start:.0f} s, {harness.reports(home / self.name)} reports")
        return home

    # -- one study -----------------------------------------------------------------------------

    def _study(self, home: Path) -> None:
        """Run a study to its end, killing processes meanwhile."""
        run = self._launch(home, first=True)
        idle = 0
        while True:
            try:
                self._disturb(run)
            except HarnessError as error:
                self.outcome.hung.append(f"{home}: {error}")
                harness.end_all(home)  # as a user would, before resuming
                self._expected = {run.process.wait()}
            if run.code is None:
                continue
            if run.code == 0:
                return
            if run.code not in self._expected:
                self.outcome.refused.append(
                    f"{home}: exit code {run.code}, expected {self._expected or 0}:\n"
                    + run.text()[-4000:]
                )
            idle = 0 if harness.reports(run.study) > run.before else idle + 1
            if idle > IDLE:
                raise HarnessError(f"{idle} launches without a report:\n{run.text()[-4000:]}")
            run = self._launch(home)

    def _disturb(self, run: Launch) -> None:
        """Kill something after a random wait; let it run once the plan is used up."""
        if self.kills and time.monotonic() < self.deadline:
            self._wait_for_moment(run)
            if run.code is None:
                self._kill(run)
        elif run.code is None:
            there = harness.reports(run.study)
            run.until(lambda: harness.reports(run.study) > there, "a report", STALL)

    def _launch(self, home: Path, *, first: bool = False) -> Launch:
        self._expected: set[int] = set()
        self.outcome.launches += 1
        begun = (home / self.name / "spec.yaml").exists() and harness.journal_files(
            home / self.name
        )
        if first or not begun or (len(self.engines) > 1 and self.dice.random() < 0.25):
            count = f"engines.count={self.engines[self.outcome.launches % len(self.engines)]}"
            return Launch(home, "--set", count, spec=self.spec)
        return Launch(home, verb="resume", spec=self.spec)

    def _wait_for_moment(self, run: Launch) -> None:
        """Wait for some reports and a moment more, or, less often, for any moment of the launch."""
        if self.dice.random() < 0.2:
            moment = time.monotonic() + 15 * self.dice.random() ** 2
        else:
            there, count = harness.reports(run.study), self.dice.choice([1, 1, 2, 2, 3, 4])
            run.until(lambda: harness.reports(run.study) >= there + count, "a report", STALL)
            moment = time.monotonic() + self.dice.random()
        while run.code is None and time.monotonic() < moment:
            time.sleep(0.02)

    def _kill(self, run: Launch) -> None:
        kind = self.kills[-1]
        victims = self._victims(kind, run)
        if not victims:  # no process of this kind is running: take another kill
            swap = self.dice.randrange(len(self.kills))
            self.kills[-1], self.kills[swap] = self.kills[swap], self.kills[-1]
            time.sleep(0.05)
            return
        there = harness.reports(run.study)
        if kind == "interrupt":
            os.killpg(run.pid, signal.SIGINT)
        else:
            number = signal.SIGTERM if kind == "terminate" else signal.SIGKILL
            struck = [victim.kill(number) for victim in victims]
            if not any(struck):
                return
        self.kills.pop()
        self.outcome.killed[kind] += 1
        done = sum(self.outcome.killed.values())
        say(f"kill {done}: {kind} at {there} reports")
        if kind in ENDS_DRIVER:
            # A signal before the driver's own handlers are up, and Python's, ends it outright.
            self._expected = {130, -signal.SIGINT, -signal.SIGTERM, 0}
            if kind in ("driver", "machine"):
                self._expected = {-signal.SIGKILL}
            run.end()
            self._damage(run.study, journal=True)
        elif kind in MAY_END_DRIVER:
            self._expected = {1}
            # Some reports may still have been on their way.
            run.until(
                lambda: harness.reports(run.study) > there + 5, f"life after its {kind}", STALL
            )
        elif kind == "engine":
            self._damage(run.study, journal=False)
        self.outcome.survived[kind] += 1

    def _victims(self, kind: str, run: Launch) -> list[Process]:
        if kind == "machine":
            found = harness.processes(run.home)
            self.dice.shuffle(found)
            return found
        if kind in ENDS_DRIVER:
            return [Process(run.pid, "driver")]
        found = harness.processes(run.home, harness.TITLES[kind])
        return [self.dice.choice(found)] if found else []

    def _damage(self, study: Path, *, journal: bool) -> None:
        files = harness.journal_files(study)
        if journal and files and self.dice.random() < self.damage:
            harness.tear(files[-1], self.dice)
            self.outcome.damaged["torn tail of the journal"] += 1
        path = harness.newest_checkpoint(study, self.dice, self._spoiled)
        if path is not None and self.dice.random() < self.damage:
            try:
                harness.spoil(path, self.dice)
            except FileNotFoundError:  # its trial has ended meanwhile
                return
            self._spoiled[path] = path.stat().st_mtime_ns
            self.outcome.damaged["newest checkpoint"] += 1

    def _judge(self, home: Path, reference: Path) -> None:
        self.outcome.zombies += [f"{home}: {p.title}" for p in harness.left_over(home)]
        harness.end_all(home)
        found = harness.judge(home, reference, frozenset({LOOSE}), self.name)
        for kind, all_ in vars(found).items():
            getattr(self.outcome.finding, kind).extend(f"{home}: {one}" for one in all_)
        self.outcome.equal += not found
        trials = load(self.name, home=home)["trials"]
        self.outcome.redone_images += int(trials["redone_images"].sum())
        for purpose in ("training", "redone", "lost"):
            self.outcome.seconds[purpose] += float(trials[f"{purpose}_seconds"].sum())
        say(f"study {self.outcome.studies}: {found or 'as it should be'}")


def say(text: str) -> None:
    """Print progress, with the time."""
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


def main() -> int:
    """Run a campaign from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="kill no longer")
    parser.add_argument("--engines", default="1,2,4", help="numbers of engines, in turn")
    parser.add_argument("--only", help="kinds of victims, with commas: " + ", ".join(VICTIMS))
    parser.add_argument("--out", type=Path, help="write the result here too")
    parser.add_argument("--folder", type=Path, help="keep the studies here")
    arguments = parser.parse_args()
    only = arguments.only.split(",") if arguments.only else list(VICTIMS)
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="study-chaos-"))
    start = time.monotonic()
    campaign = Campaign(
        folder.resolve(),
        arguments.kills,
        arguments.seed,
        victims={kind: VICTIMS[kind] for kind in only},
        engines=[int(count) for count in arguments.engines.split(",")],
        deadline=60 * arguments.minutes,
    )
    outcome = campaign.run()
    text = f"{outcome.markdown()}\n\n{(time.monotonic() - start) / 60:.0f} minutes\n"
    print(text)
    if arguments.out:
        arguments.out.write_text(text)
    if not outcome.good:
        print(f"The studies are in {folder}\n{outcome.troubles()}", file=sys.stderr)
        return 1
    if not arguments.folder:
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
