"""Running a study: everything between a checked spec and its report."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from study.engine import checkpoints
from study.engine.weights import shared_weights
from study.journal import Event, Journal, StudyHome, has_events, heartbeats
from study.journal.commands import waiting
from study.launching.progress import Progress
from study.launching.ray_cluster import check_address, ray_up
from study.launching.signals import Signals
from study.launching.supervisor import Steering
from study.spec import SpecError, StudySpec, check_images, difference
from study.tracking import MlflowWriter, check, tracking_uri
from vae_core.data import PreparedData, prepare
from vae_core.errors import UserError

if TYPE_CHECKING:
    from study.analysis import Report
    from study.scheduling.fleet import Fleet
    from study.scheduling.sizing import EnginePlan
    from study.search import Conductor

MLFLOW_BACKLOG = 2000
"""Events that MLflow takes within seconds: a person wants to know of more."""
MLFLOW_PATIENCE = 60.0
"""Seconds a finished study waits while nothing arrives in MLflow; what is left then goes out on the
next launch."""


class StudyInterruptedError(Exception):
    """The study was interrupted; the journal has all it needs to go on."""


@dataclass(frozen=True)
class Options:
    """How to run, as opposed to what: none of it changes a result."""

    home: StudyHome
    data_root: Path | None = None
    address: str | None = None
    """A Ray cluster's address; None: a local Ray is started, and stopped afterwards."""
    take_over: bool = False
    """Take the study from whoever runs it: that driver then changes nothing more."""


def run(spec: StudySpec, options: Options) -> Report:
    """Run ``spec`` to its end, from wherever its journal stands, and report.

    Raises:
        UserError: what the person can mend; nothing half-made is left.
        StudyInterruptedError: a signal or an order ended the run early.
    """
    home = options.home
    uri = tracking_uri(home.studies)
    if not has_events(home.path):  # else what MLflow should get can wait in the journal
        check(uri)
    _refuse_changes(spec, home)
    if options.address is not None:
        check_address(options.address)
    with ExitStack() as stack:
        signals = stack.enter_context(Signals())
        journal = stack.enter_context(_opened(home, take_over=options.take_over))
        if _nothing_left(spec, journal, home):
            with _tracking(uri, home, journal) as writer:
                return _conclude(spec, journal, home, writer)
        started = stack.enter_context(ExitStack())
        with ThreadPoolExecutor(2) as aside:  # Ray comes up while data and Optuna are made ready
            preparing = aside.submit(prepare, spec.data.settings, home.data, options.data_root)
            aside.submit(import_module, "study.search")
            ray_up(options.address, spec, started)
            signals.own()  # Ray takes SIGTERM as it comes up
        data = preparing.result()
        check_images(spec, data)
        weights = shared_weights(spec.evaluation, home.data)
        _begin(spec, data, journal, home)
        with _tracking(uri, home, journal) as writer:
            _conduct(spec, data, weights, journal, home, signals)
            with ThreadPoolExecutor(1) as aside:
                ending = aside.submit(started.close)
                report = _conclude(spec, journal, home, writer)
                ending.result()
            return report


@contextmanager
def _opened(home: StudyHome, *, take_over: bool) -> Iterator[Journal]:
    """The study's journal and lease; of a study that then does not begin, nothing is left."""
    home.make()
    journal = Journal(home.path, take_over=take_over)
    if journal.cut:
        print(
            f"the journal of the launch before ends in {journal.cut:,} bytes that are no whole "
            "entries: they are left out, and what they told is done again",
            file=sys.stderr,
        )
    try:
        yield journal
    finally:
        unused = not journal.events and journal.held()
        journal.close()
        if unused:
            shutil.rmtree(home.path)


@contextmanager
def _tracking(uri: str, home: StudyHome, journal: Journal) -> Iterator[MlflowWriter]:
    """The MLflow writer, told all of the journal."""

    def pack(trial: str, folder: Path) -> None:
        from study.exporting.model import (
            pack,  # and torch with it: in the writer's thread, at the end
        )

        pack(home, trial, folder)

    writer = MlflowWriter(uri, home.path, journal.held, pack)
    try:
        for event in journal.events:
            writer.send(event)
        journal.observe(writer.send)
        yield writer
    finally:
        writer.close(MLFLOW_PATIENCE / 4 if journal.held() else 0.0)


def _nothing_left(spec: StudySpec, journal: Journal, home: StudyHome) -> bool:
    """Whether the study was finished, as ``spec`` has it, by an earlier launch."""
    spec_hash, finished = "", False
    for event in journal.events:
        if event.kind == "study":
            spec_hash = event.data["spec_hash"]
        elif event.kind in {"launch", "finish"}:
            finished = event.kind == "finish"
    return finished and spec_hash == spec.hash and not waiting(home.path)


def _conduct(
    spec: StudySpec,
    data: PreparedData,
    weights: Path | None,
    journal: Journal,
    home: StudyHome,
    signals: Signals,
) -> None:
    """Run what is left to run, and record how that ended."""
    import optuna

    from study.scheduling.fleet import Fleet
    from study.scheduling.sizing import engine_plan, widths_to_try
    from study.search import Conductor

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    _settle(spec, journal, home)
    plan = engine_plan(spec.engines)
    widths = widths_to_try(spec, plan.device, plan.count, journal.events)
    conductor = Conductor(spec, journal, _dims(data), slots=plan.count * widths[-1])
    conductor.check_caps(time.time())
    if conductor.startable and conductor.cap is None:
        template = plan.config(spec, home.path, journal.epoch, weights)
        fleet = Fleet(template, plan.count, widths[-1])
        signals.hand_over(conductor.interrupt)
        _run_trials(spec, data, plan, conductor, fleet, home, signals)
    if conductor.complete:
        conductor.note("finish", {})
    else:
        conductor.check_caps(time.time())  # what came in while engines put their trials down counts
        assert conductor.cap is not None
        conductor.note("cap", asdict(conductor.cap))


def _run_trials(
    spec: StudySpec,
    data: PreparedData,
    plan: EnginePlan,
    conductor: Conductor,
    fleet: Fleet,
    home: StudyHome,
    signals: Signals,
) -> None:
    """Run trials to the last, or to a cap; whatever else ends it early, the journal says so."""
    from study.scheduling.sizing import frozen_width
    from study.scheduling.tune.run import tune_trials

    def note(kind: str, data: dict[str, Any]) -> None:
        try:
            conductor.note(kind, data)
        except UserError as error:  # raised in another thread, to be seen in this
            conductor.fail(error)

    journal = conductor.journal
    early: dict[str, Any] | None = {}
    try:
        with Progress(conductor, spec) as progress:
            journal.observe(progress.tell)
            journal.observe(lambda event: _retire(spec, [event], home))
            width = frozen_width(spec, plan, fleet, data, journal)
            conductor.slots = plan.count * width
            fleet.open(data.to_dict(), spec.data.validation, width, note, conductor.running)
            progress.begin()
            with Steering(conductor, fleet, home.path, signals), signals.abandonable():
                tune_trials(conductor, fleet)
        if conductor.failure is not None:
            raise conductor.failure
        if not conductor.interrupted or conductor.cap is not None:
            early = None
    except Exception as error:
        early = {"error": f"{type(error).__name__}: {error}"}
        raise
    finally:
        try:
            fleet.stop()
        finally:
            if early is not None:
                note("interrupted", early)
            if conductor.failure is None:
                heartbeats.forget(home.path)
                _retire(spec, journal.events, home)  # an engine may have been a moment late
    if early is not None:
        raise StudyInterruptedError


def _settle(spec: StudySpec, journal: Journal, home: StudyHome) -> None:
    """Close what the driver before left open."""
    for account in heartbeats.orphans(home.path, journal.events):
        journal.append("engine", heartbeats.closing(account, "lost", "driver"))
    journal.commit()
    heartbeats.forget(home.path)
    _retire(spec, journal.events, home)


def _retire(spec: StudySpec, events: Iterable[Event], home: StudyHome) -> None:
    """Leave of the checkpoints of trials that have ended what the spec says."""
    for event in events:
        if event.kind == "end":
            checkpoints.retire(home.trial(event.data["trial"]), spec.checkpoints.keep)


def _conclude(spec: StudySpec, journal: Journal, home: StudyHome, writer: MlflowWriter) -> Report:
    """Report, in the study's home and in MLflow."""
    from study.managing.report import (
        write_report,  # and statistics with it, which take long to load
    )

    report = write_report(spec, journal.events, home)
    _log_report(report, home, writer)
    return report


def _log_report(report: Report, home: StudyHome, writer: MlflowWriter) -> None:
    from study.analysis.answers.by_arm import arm_answers

    files = {
        "report/report.txt": home.report / "report.txt",
        "report/report.html": home.page,
        **{f"report/figures/{path.name}": path for path in sorted(home.figures.iterdir())},
        "records.parquet": home.path / "records.parquet",
        "trials.parquet": home.path / "trials.parquet",
        "spec.yaml": home.spec,
    }
    said = "\n\n".join((*report.verdict, *report.remarks))
    writer.finish_study(files, said, arm_answers(report))
    waiting_for = writer.unsent
    if waiting_for > MLFLOW_BACKLOG:
        print(f"the study is done; MLflow still gets {waiting_for:,} events", file=sys.stderr)
    unsent = writer.close(MLFLOW_PATIENCE, drain=True)
    if unsent:
        print(
            f"MLflow did not take {unsent} events ({writer.problem}); "
            "they are in the journal and go out when the study is launched again",
            file=sys.stderr,
        )


def _refuse_changes(spec: StudySpec, home: StudyHome) -> None:
    """Let a study go on under a spec that only extends the frozen one."""
    if not home.spec.exists():
        return
    # As this version reads it: a key that was not there yet has its default.
    frozen = StudySpec.from_dict(yaml.safe_load(home.spec.read_text())).to_dict()
    refused = difference(frozen, spec.to_dict()).refused
    if refused:
        raise SpecError(
            "the study has run already, with other settings:\n    " + "\n    ".join(refused),
            where=str(home.spec),
            remedy="give the study another name, or go back to the settings it was begun with",
        )


def _begin(spec: StudySpec, data: PreparedData, journal: Journal, home: StudyHome) -> None:
    """Freeze the spec and record that this launch begins."""
    partial = home.spec.with_suffix(".partial")
    partial.write_text(yaml.safe_dump(spec.to_dict(), sort_keys=False))
    partial.rename(home.spec)
    known = [event.data for event in journal.events if event.kind == "study"]
    described = {
        "name": spec.name,
        "spec": spec.to_dict(),
        "spec_hash": spec.hash,
        "code_version": code_version(),
        "data": data.to_dict(),
    }
    if known and known[-1]["data"]["sha256"] != data.sha256:
        raise SpecError(
            f"the images of '{spec.data.name}' are not those the study was begun with",
            where=str(home.path),
            remedy="restore them, or begin a study of another name",
        )
    if not known or known[-1]["spec_hash"] != spec.hash:
        journal.append("study", described)
    host = os.uname().nodename
    journal.append(
        "launch", {"epoch": journal.epoch, "pid": os.getpid(), "host": host, "command": sys.argv}
    )
    journal.commit()


def code_version() -> str:
    """The commit this package runs from, marked if changed; else its installed version."""
    folder = Path(__file__).parent
    try:
        described = subprocess.run(
            ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12"],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
        return described.stdout.strip()
    except (OSError, subprocess.SubprocessError):
        pass
    try:
        return version("vae-tuning-study")
    except PackageNotFoundError:
        return "unknown"


def _dims(data: PreparedData) -> int:
    channels, height, width = data.shape
    return channels * height * width
