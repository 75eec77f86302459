"""Whole studies as processes: launching them, finding their processes, checking the result."""

from __future__ import annotations

import copy
import os
import random
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml

from study import load
from study.journal import Entry, Event, read_entries
from study.journal.events import Reported, TrialAsked, TrialEnded
from study.journal.trial import ENDED

NAME = "small"
BETA = {"low": 1e-3, "high": 10, "log": True}
SPEC: dict[str, Any] = {
    "name": NAME,
    "question": "Does the platform keep its promises?",
    "data": {"name": "digits", "validation": 220},
    "model": {"name": "mlp", "latent": 4, "width": 16},
    "training": {"epochs": 50, "batch_size": 64, "lr": 3e-3, "reports": 12},
    "primary": {"hand_tuned": "random", "automatic": "optimal"},
    "seeds": [0, 1],
    "evaluation": {"images": 200, "pictures": 4},
    "engines": {"device": "cpu", "count": 1, "slots": 1},
    "arms": {
        "random": {
            "balancer": "fixed_beta",
            "search": {"space": {"beta": BETA}, "trials": 3},
        },
        "tpe": {
            "balancer": "fixed_beta",
            "search": {
                "space": {"beta": BETA, "model.latent": [3, 4]},
                "sampler": {"name": "tpe", "n_startup_trials": 2},
                "pruner": {"name": "median", "n_startup_trials": 1, "synchronous": True},
                "trials": 4,
                "batch": 2,
            },
        },
        "optimal": {"balancer": "optimal_sigma"},
    },
}
TRIALS = 3 + 2 + 4 + 2 + 2
PATIENCE = 300.0
"""The longest wait for anything here, in seconds."""
MARK = "STUDY_TEST"
"""Environment variable that marks a launch; Ray's processes inherit it and are found by it."""


def with_arms(arms: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    """A copy of :data:`SPEC` with other arms, none of them named to be compared."""
    return copy.deepcopy({**SPEC, "arms": dict(arms), "primary": None, **changes})


class HarnessError(AssertionError):
    """A study that does not do what it should; says what was observed."""


class Launch:
    """``study launch`` or ``study resume`` in a process and a session of its own.

    ``prefix`` are words before the command, which take it to another host.
    """

    def __init__(
        self,
        home: Path,
        *arguments: str,
        verb: str = "launch",
        spec: Mapping[str, Any] = SPEC,
        environment: Mapping[str, str] = {},
        prefix: Sequence[str] = (),
    ) -> None:
        home.parent.mkdir(parents=True, exist_ok=True)
        file = home.parent / f"{home.name}.yaml"
        file.write_text(yaml.safe_dump(dict(spec)))
        self.home, self.study = home, home / str(spec["name"])
        self.log = home.parent / f"{home.name}.log"
        self.before = reports(self.study)
        self._said = self.log.stat().st_size if self.log.exists() else 0
        target = str(file) if verb == "launch" else str(spec["name"])
        command = [*prefix, sys.executable, "-m", "study", verb, target, "--home", str(home)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, MARK: str(home), "PYTHONFAULTHANDLER": "1", **environment},
            )
        self.pid = self.process.pid

    @property
    def code(self) -> int | None:
        """Its exit code; None while it runs."""
        return self.process.poll()

    def text(self) -> str:
        """What it has printed."""
        with self.log.open("rb") as file:
            file.seek(self._said)
            return file.read().decode(errors="replace")

    def end(self, patience: float = PATIENCE) -> int:
        """Wait for its exit code."""
        self.until(lambda: self.code is not None, "its exit", patience)
        return self.process.wait()

    def reports(self, count: int, patience: float = PATIENCE) -> None:
        """Wait until so many reports have been journalled since it was started."""
        enough = self.before + count
        self.until(lambda: reports(self.study) >= enough, f"{count} reports", patience)
        if reports(self.study) < enough:
            raise HarnessError(f"exit code {self.code} before {count} reports:\n{self.text()}")

    def until(self, seen: Callable[[], bool], what: str, patience: float = PATIENCE) -> None:
        """Wait until ``seen`` or its exit.

        Raises:
            HarnessError: neither happened in time; says where the driver was.
        """
        deadline = time.monotonic() + patience
        while not seen() and self.code is None:
            if time.monotonic() > deadline:
                raise HarnessError(f"waited {patience:g} s for {what}\n{self.diagnose()}")
            time.sleep(0.1)

    def diagnose(self) -> str:
        """Abort it with its threads' stacks in its log; return the log and the processes."""
        there = "\n".join(f"{p.pid} {p.title}" for p in processes(self.home))
        for number in (signal.SIGCONT, signal.SIGABRT):
            if self.code is None:
                os.killpg(self.pid, number)  # a prefix may have a process too
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
        log = self.text().partition("\nExtension modules:")[0]  # and stacks before it
        return f"processes:\n{there}\nlog:\n{log[-12_000:]}"


def finish(home: Path, *arguments: str, verb: str = "launch", **options: Any) -> Launch:
    """Run a study to its end."""
    run = Launch(home, *arguments, verb=verb, **options)
    if run.end() != 0:
        raise HarnessError(f"exit code {run.code}:\n{run.text()}")
    return run


# -- what a study has written ----------------------------------------------------------------------


def journal_files(study: Path) -> list[Path]:
    """The journal's files, oldest first."""
    return sorted((study / "journal").glob("*.log"))


def finish_killed(
    home: Path, after: Sequence[int], *arguments: str, spec: Mapping[str, Any]
) -> None:
    """Launch a study, kill its driver after so many reports, and resume it each time; then finish.

    ``arguments`` are the first launch's alone.
    """
    run = Launch(home, *arguments, spec=spec)
    for more in after:
        run.reports(more)
        run.process.kill()
        assert run.end() == -signal.SIGKILL, run.text()
        run = Launch(home, verb="resume", spec=spec)
    assert run.end() == 0, run.text()


def reports(study: Path) -> int:
    """How many reports the journal holds, roughly and cheaply."""
    return sum(path.read_bytes().count(b',"report",{') for path in journal_files(study))


def entries(home: Path, name: str = NAME) -> list[Entry]:
    """The journal."""
    return list(read_entries(home / name))


EventType = TypeVar("EventType", bound=Event)


def events(home: Path, kind: type[EventType], name: str = NAME) -> list[EventType]:
    """The journal's events of one kind; none where there is no journal yet."""
    if not journal_files(home / name):
        return []
    return [entry.event for entry in entries(home, name) if isinstance(entry.event, kind)]


NOT_COMPARED = re.compile(r"seconds|redone|lost|started|ended|engine")


def table(home: Path, name: str = NAME) -> list[dict[str, Any]]:
    """The columns of the trials' table that no crash, engine or neighbour may change."""
    rows: list[dict[str, Any]] = load(name, home=home, arrow=True)["trials"].to_pylist()
    return [{k: v for k, v in row.items() if not NOT_COMPARED.search(k)} for row in rows]


@dataclass
class Finding:
    """The defects of a finished study, by kind; all lists are empty if there are none."""

    lost: list[str] = field(default_factory=list)
    """Trials that are missing, or have not ended."""
    twice: list[str] = field(default_factory=list)
    """Trials with two ends in the journal, two rows, or two runs in MLflow."""
    steps: list[str] = field(default_factory=list)
    """Metric histories in MLflow unlike the journal's: a step missing, twice, another value."""
    open: list[str] = field(default_factory=list)
    """Runs that have not ended in MLflow."""
    differing: list[str] = field(default_factory=list)
    """Rows of the trials' table unlike the reference's."""

    def __bool__(self) -> bool:
        return any(vars(self).values())


def judge(
    home: Path,
    reference: Path,
    loose: frozenset[str] = frozenset(),
    name: str = NAME,
    database: Path | None = None,
) -> Finding:
    """Compare a finished study with one that ran undisturbed.

    Args:
        home: the studies' home of the study to judge.
        reference: that of the undisturbed one.
        loose: arms with an asynchronous pruner: which of their trials are pruned may differ, and so
            may what is confirmed; the number of trials may not.
        name: the study's name in both.
        database: MLflow's database; by default the one in ``home``.
    """
    found = Finding()
    rows, wanted = table(home, name), table(reference, name)
    names = Counter(str(row["trial"]) for row in rows)
    found.twice += [f"{trial}: {n} rows" for trial, n in names.items() if n > 1]
    found.lost += [f"{r['trial']}: {r['state']}" for r in rows if r["state"] not in ENDED]
    there = {str(row["trial"]): row for row in rows}
    for row in wanted:
        trial = str(row["trial"])
        if row["arm"] in loose:
            continue
        if trial not in there:
            found.lost.append(f"{trial}: not in the table")
        elif there[trial] != row:
            here = there[trial]
            unlike = {key: (value, here[key]) for key, value in row.items() if here[key] != value}
            found.differing.append(f"{trial}: (reference, here) {unlike}")
    strangers = set(there) - {str(row["trial"]) for row in wanted}
    found.twice += [f"{n}: not asked by the reference" for n in strangers if _arm(n) not in loose]
    count = Counter((r["arm"], r["phase"]) for r in rows if r["arm"] in loose)
    if count != Counter((r["arm"], r["phase"]) for r in wanted if r["arm"] in loose):
        found.lost.append(f"of arms with an asynchronous pruner there are {dict(count)}")
    ends = Counter(event.trial for event in events(home, TrialEnded, name))
    found.twice += [f"{trial}: {n} ends in the journal" for trial, n in ends.items() if n > 1]
    found.lost += [f"{trial}: no end in the journal" for trial in there if trial not in ends]
    _judge_mlflow(
        database or home / "mlflow.db",
        {event.trial for event in events(home, TrialAsked, name)},
        _histories(events(home, Reported, name)),
        found,
    )
    return found


def _arm(trial: str) -> str:
    return trial.partition(".")[0]


def _judge_mlflow(
    database: Path,
    trials: set[str],
    expected: Mapping[tuple[str, str], list[tuple[int, float]]],
    found: Finding,
) -> None:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as store:
        runs = store.execute(
            "SELECT r.run_uuid, r.status, t.value FROM runs r JOIN tags t USING (run_uuid) "
            "WHERE t.key = 'study.run' AND r.lifecycle_stage = 'active'"
        ).fetchall()
        stored = store.execute("SELECT run_uuid, key, step, value, is_nan FROM metrics").fetchall()
    keys = Counter(key for _, _, key in runs)
    found.twice += [f"{key}: {n} runs in MLflow" for key, n in keys.items() if n > 1]
    found.open += [f"{k}: {s}" for _, s, k in runs if s not in {"FINISHED", "KILLED", "FAILED"}]
    found.lost += [f"{t}: no run in MLflow" for t in trials if not keys[f"trial/{t}"]]
    names = {run: key for run, _, key in runs}
    histories: dict[tuple[str, str], list[tuple[int, float]]] = defaultdict(list)
    for run, metric, step, value, is_nan in stored:
        if run in names:
            histories[names[run], metric].append((step, float("nan") if is_nan else value))
    for (key, metric), history in histories.items():
        twice = [step for step, n in Counter(step for step, _ in history).items() if n > 1]
        if twice:
            found.steps.append(f"{key} {metric}: steps {twice} more than once")
    for (key, metric), wanted in expected.items():
        history = sorted(histories[key, metric])
        if repr(history) != repr(wanted):  # as text: NaN is equal to NaN
            found.steps.append(f"{key} {metric}: {history} is not the journal's {wanted}")


def _histories(reports: list[Reported]) -> dict[tuple[str, str], list[tuple[int, float]]]:
    """What MLflow should hold of the trials' reports, by run and metric."""
    found: dict[tuple[str, str], dict[int, float]] = defaultdict(dict)
    for report in reports:
        if not report.redone:
            for metric, value in report.metrics.items():
                if value is not None:
                    key = f"trial/{report.trial}", metric
                    found[key].setdefault(report.step, float(value))
    return {key: sorted(history.items()) for key, history in found.items()}


TITLES = {
    "engine": "EngineActor",
    "relay": "ray::Relay",
    "mlflow": "study.launching.mlflow_process",
    "raylet": "/raylet/raylet",
    "gcs": "/gcs/gcs_server",
}
"""Patterns of the titles of a study's processes."""


# -- processes -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Process:
    """A process that carries a home's mark."""

    pid: int
    title: str

    def kill(self, number: int = signal.SIGKILL) -> bool:
        """Send it a signal; whether it was still there."""
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return False
        return True


def processes(home: Path, title: str = "") -> list[Process]:
    """Processes that launches of the studies in ``home`` started, whose title matches ``title``."""
    mark = f"{MARK}={home}".encode()
    return running(lambda proc: mark in (proc / "environ").read_bytes().split(b"\0"), title)


def running(belongs: Callable[[Path], bool], title: str = "") -> list[Process]:
    """Processes whose folder in ``/proc`` ``belongs``, and whose title matches ``title``."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            if not belongs(folder):
                continue
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:  # it has exited, or belongs to another user
            continue
        text = b" ".join(words).decode(errors="replace").strip()
        if re.search(title, text):
            found.append(Process(int(folder.name), text))
    return found


def left_over(home: Path, patience: float = 90.0) -> list[Process]:
    """Processes that :func:`stay` after a study's end.

    Two of Ray's own agents outlive a killed driver while they retry to report its death to Ray's
    control store, which is dead too.
    """
    return stay(lambda: processes(home), patience)


def stay(find: Callable[[], list[Process]], patience: float = 90.0) -> list[Process]:
    """What ``find`` still finds; waits up to ``patience`` s for them to exit."""
    deadline = time.monotonic() + patience
    while (there := find()) and time.monotonic() < deadline:
        time.sleep(0.2)
    return there


def end_all(home: Path) -> None:
    """Kill all processes of the studies in ``home``."""
    for process in processes(home):
        process.kill()


CHECK = "import sys; from study.tracking import check; check(sys.argv[1])"


class MlflowServer:
    """``mlflow server`` on its own port, to be killed and restarted.

    ``prefix`` are words before the commands that start it and ask it, which take them to the host
    that has ``address``.
    """

    def __init__(
        self, folder: Path, address: str = "127.0.0.1", prefix: Sequence[str] = ()
    ) -> None:
        folder.mkdir()
        self.database, self._folder = folder / "mlflow.db", folder
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self._port = probe.getsockname()[1]
        self.uri, self._address, self._prefix = f"http://{address}:{self._port}", address, prefix

    def __enter__(self) -> MlflowServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = [*self._prefix, sys.executable, "-m", "mlflow", "server", "--workers", "1"]
        command += ["--backend-store-uri", f"sqlite:///{self.database}"]
        command += ["--artifacts-destination", str(self._folder / "artifacts")]
        quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--host", self._address, "--port", str(self._port)],
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=os.environ | quiet,
            )
        ask = [*self._prefix, sys.executable, "-c", CHECK, self.uri]
        deadline = time.monotonic() + PATIENCE
        while (
            asked := subprocess.run(ask, capture_output=True, text=True, check=False)
        ).returncode:
            if time.monotonic() > deadline:
                raise HarnessError(f"the MLflow server does not start: {asked.stderr}")

    def kill(self) -> None:
        """SIGKILL it, its workers too."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


# -- damage ----------------------------------------------------------------------------------------


def tear(path: Path, dice: random.Random) -> None:
    """Append what an interrupted write leaves: a part of a line, or random bytes."""
    lines = path.read_bytes().splitlines(keepends=True)
    line = dice.choice(lines) if lines else b""
    torn = line[: dice.randrange(1, len(line))] if len(line) > 1 else b"0"
    with path.open("ab") as file:
        file.write(torn if dice.random() < 0.7 else dice.randbytes(dice.randrange(1, 200)))


def spoil(path: Path, dice: random.Random) -> None:
    """Truncate a file, or flip one of its bits."""
    content = bytearray(path.read_bytes())
    if not content:
        return
    if dice.random() < 0.5:
        os.truncate(path, dice.randrange(len(content)))
    else:
        content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
        path.write_bytes(content)


def newest_checkpoint(study: Path, dice: random.Random, spoiled: Mapping[Path, int]) -> Path | None:
    """The newest checkpoint of some trial that has an older one to fall back to.

    ``spoiled`` holds the files damaged before, with their modification times: the platform promises
    to survive one damaged checkpoint of a trial, not two in a row.
    """
    trials = [sorted(f.glob("*.ckpt")) for f in sorted((study / "trials").glob("*"))]
    found = [
        files[-1]
        for files in trials
        if len(files) > 1 and not any(spoiled.get(f) == f.stat().st_mtime_ns for f in files)
    ]
    return dice.choice(found) if found else None
