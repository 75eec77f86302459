"""Running a study: everything between a checked spec and its report."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from study.diagnosing.diagnosis import check_cluster, check_machine
from study.engine.parts import Part, code_of
from study.engine.weights import measured_with, shared_weights
from study.formatting import duration
from study.journal import Event, Journal, StudyHome, heartbeats
from study.journal.commands import drop_stops
from study.journal.events import (
    ArmPiloted,
    LaunchBegan,
    StudyDescribed,
    StudyFinished,
    StudyInterrupted,
    TrialsTold,
)
from study.launching.checks import (
    begun_arms,
    check_data,
    check_tracking,
    nothing_left,
    settle,
)
from study.launching.core_process import CoreProcess
from study.launching.mlflow_process import MlflowProcess
from study.launching.output import lasting_output
from study.launching.pilots import pilots
from study.launching.preparing import as_begun, prepared_beside
from study.launching.progress import Progress, begins
from study.launching.ray_cluster import AddressCheck, ray_up
from study.launching.retiring import Retiring
from study.launching.signals import REPORTING, SUSPENDING, Signals
from study.launching.supervisor import Supervisor, execute_commands, heed_stop
from study.launching.warm_start import earlier_trials, other_trainings
from study.package import code_version
from study.spec import (
    StudySpec,
    arm_roles,
    check_images,
    converted,
    last_description,
    unfinished,
)
from study.spec.begun import begun_as
from study.spec.roles import kept_roles
from study.tracking import tracking_uri
from vae_core.atomic import atomic_write
from vae_core.data import PreparedData
from vae_core.errors import UserError

if TYPE_CHECKING:
    from study.analysis.answers.report import Report
    from study.analysis.rendering.notebook import ShownReport
    from study.search import Conductor

CLOCK_SKEW = 60.0
"""Seconds by which clocks of two machines may differ: more is printed."""
MLFLOW_BACKLOG = 2000
"""Events that MLflow takes within seconds: a larger backlog is printed."""
MLFLOW_PATIENCE = 60.0
"""Seconds a finished study waits while nothing arrives in MLflow; what is left is sent at the next
launch."""


class StudyInterruptedError(Exception):
    """The study was interrupted; the journal holds all that a resumption needs."""


@dataclass(frozen=True)
class Options:
    """How to run, as opposed to what: no option changes a result."""

    home: StudyHome
    data_root: Path | None = None
    address: str | None = None
    """A Ray cluster's address; None: a local Ray is started, and stopped afterwards."""
    take_over: bool = False
    """Take the study over from the driver that runs it, which then changes nothing more."""


@dataclass(frozen=True)
class Prepared:
    """A study and what its engines need of it."""

    spec: StudySpec
    data: PreparedData
    weights: Path | None
    """The file of the network that distances are measured with."""
    parts: Mapping[Part, str]
    """What they import, with the digests of its code."""
    one_row: bool
    """Whether an engine can train one trial at a time only."""


@lasting_output()
def run(
    spec: StudySpec,
    options: Options,
    core: CoreProcess,
    reached: AddressCheck,
    mlflow: MlflowProcess,
) -> ShownReport:
    """Run ``spec`` to its end, from the state its journal holds, and report.

    Models and balancers are looked up and tried in ``core``, which is ended before engines start.
    Nothing begins before the cluster is ``reached``.

    Raises:
        UserError: what the person can correct; nothing half-made is left.
        StudyInterruptedError: a signal or a command ended the run early.
    """
    home = options.home
    begins(f"{spec.name}: checking its settings")
    spec = settle(spec, home, core(arm_roles, spec))
    told, piloted = earlier_trials(spec, home), pilots(spec, home)
    warned = (f"warning: {found}" for found in other_trainings(spec, home))
    for line in (*told, *piloted, *warned):
        print(line, file=sys.stderr)
    begun = begun_arms(home)
    _rehearse(spec, told, begun)
    check_tracking(spec, home, writing=True)
    reached.result()
    with ExitStack() as stack:
        signals = stack.enter_context(Signals())
        journal = stack.enter_context(_opened(home, take_over=options.take_over))
        if nothing_left(spec, journal.entries, home):
            with _tracking(mlflow, home, journal):
                return _conclude(spec, journal, home, mlflow)
        started, parts = stack.enter_context(ExitStack()), core(code_of, spec)
        begins(f"{spec.name}: starting Ray, and reading {spec.data.name}")
        found = _images_and_ray(spec, options, parts, started, signals)
        data = as_begun(found, journal.entries)
        begins(f"{spec.name}: trying its models on the images")
        models = core(check_images, spec, data, None, begun)
        check_data(spec, data, journal.entries, home)
        said = (f"data: {data}", *models.said, *converted(spec, _dims(data)))
        print(*said, *core(unfinished, spec, data), sep="\n", file=sys.stderr)
        measured = measured_with(journal.entries)
        weights = core(shared_weights, spec.evaluation, home.data, measured)
        prepared = Prepared(spec, data, weights, parts, one_row=models.one_row is not None)
        _begin(spec, data, core(arm_roles, spec), journal, home)
        core.close()
        with _tracking(mlflow, home, journal):
            _conduct(prepared, [*told, *piloted], journal, home, signals)
            signals.hand_over(lambda: None, REPORTING)
            with ThreadPoolExecutor(1) as aside:
                ending = aside.submit(started.close)
                report = _conclude(spec, journal, home, mlflow)
                ending.result()
            return report


def _images_and_ray(
    spec: StudySpec,
    options: Options,
    parts: Mapping[Part, str],
    started: ExitStack,
    signals: Signals,
) -> PreparedData:
    """Prepare images while Ray starts, which ends with ``started``, and Optuna is imported."""
    with (
        ThreadPoolExecutor(1) as aside,
        prepared_beside(spec, options.home.data, options.data_root) as preparing,
    ):
        aside.submit(import_module, "study.search")
        ray_up(options.address, spec, started)
        signals.own()  # Ray takes SIGTERM as it starts
        here = options.address is None
        for problem in _machine(spec) if here else check_cluster(spec, parts):
            print(f"warning: {problem}", file=sys.stderr)
        return preparing.result()


def _machine(spec: StudySpec) -> Iterator[str]:
    from study.scheduling.sizing import engine_plan  # it brings Ray, which is up now

    return check_machine(spec.engines.precision, engine_plan(spec.engines).device)


@contextmanager
def _opened(home: StudyHome, *, take_over: bool) -> Iterator[Journal]:
    """The study's journal and lease; a study that then does not begin leaves nothing."""
    home.make()
    journal = Journal(home.path, take_over=take_over)
    if journal.cut:
        print(
            f"the journal of the launch before ends in {journal.cut:,} bytes that are no complete "
            "entries: they are ignored, and the work they recorded is done again",
            file=sys.stderr,
        )
    if journal.clock.behind > CLOCK_SKEW:
        print(
            f"this machine's clock is {duration(journal.clock.behind)} behind the study's last "
            "entry: the times of this launch are counted on from that entry's",
            file=sys.stderr,
        )
    try:
        drop_stops(home.path)
        yield journal
    finally:
        unused = not journal.entries and journal.held()
        journal.close()
        if unused:
            home.unmake()


@contextmanager
def _tracking(mlflow: MlflowProcess, home: StudyHome, journal: Journal) -> Iterator[None]:
    """A block whose events, and all before, are written to MLflow."""
    mlflow.follow(tracking_uri(home.studies), home, journal.epoch)
    try:
        yield
    finally:
        state = mlflow.close(MLFLOW_PATIENCE / 4 if journal.held() else 0.0)
        if made := state.made_anew:
            runs = "1 run that was" if made == 1 else f"{made} runs that were"
            print(f"made anew: {runs} deleted in MLflow", file=sys.stderr)


def _conduct(
    prepared: Prepared,
    before: Iterable[TrialsTold | ArmPiloted],
    journal: Journal,
    home: StudyHome,
    signals: Signals,
) -> None:
    """Run what is left to run, and record how that ended."""
    import optuna

    from study.search import Conductor

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    spec = prepared.spec
    _close_orphans(spec, journal, home)
    # Those of an arm that has begun were read from this journal.
    known = [entry.event for entry in journal.entries]
    for event in before:
        if event not in known:
            journal.append(event)
    journal.commit()  # a search begins with what it is told
    # The engines bring the slots.
    conductor = Conductor(spec, journal, _dims(prepared.data), slots=0)
    conductor.check_caps(journal.clock.now())
    execute_commands(conductor, home.path)  # a retry may be all the work there is
    if conductor.has_work and conductor.cap is None:
        signals.hand_over(conductor.interrupt, SUSPENDING)
        _run_trials(prepared, conductor, home)
    if conductor.all_ended:
        conductor.note(StudyFinished())
        return
    # Reports made while the engines suspended their trials count.
    conductor.check_caps(journal.clock.now())
    conductor.note(conductor.cap or StudyInterrupted())
    if conductor.cap is None:
        print("a retry came as the last trial ended: a resume trains it", file=sys.stderr)
        raise StudyInterruptedError


def _run_trials(prepared: Prepared, conductor: Conductor, home: StudyHome) -> None:
    """Run trials to the last, or to a cap; any other early end is journalled."""
    from study.scheduling.engines import running_engines

    def note(event: Event) -> None:
        try:
            conductor.note(event)
        except UserError as error:  # raised in another thread, to be raised in this one
            conductor.fail(error)

    def heed() -> None:
        if heed_stop(conductor, home.path):
            raise conductor.failure or StudyInterruptedError

    spec, journal = prepared.spec, conductor.journal
    early: StudyInterrupted | None = StudyInterrupted()
    try:
        begins(f"{spec.name}: starting engines, and timing their slots")
        with Progress(conductor, spec) as progress:
            journal.observe(progress.show)
            journal.observe(_retiring(spec, journal, home).follow)
            with running_engines(
                spec,
                prepared.data,
                prepared.weights,
                home.path,
                conductor,
                note,
                parts=prepared.parts,
                one_row=prepared.one_row,
                meanwhile=partial(import_module, "study.scheduling.tune.run"),
                heed=heed,
            ) as fleet:
                from study.scheduling.tune.run import tune_trials

                progress.begin()
                with Supervisor(conductor, fleet, home.path) as supervisor:
                    supervisor.run(lambda: tune_trials(conductor, fleet))
        if conductor.failure is not None:
            raise conductor.failure
        if not conductor.interrupted or conductor.cap is not None:
            early = None
    except StudyInterruptedError:  # before any engine ran
        pass
    except Exception as error:
        early = StudyInterrupted(f"{type(error).__name__}: {error}")
        raise
    finally:
        if early is not None:
            note(early)
        if conductor.failure is None:
            heartbeats.forget(home.path)
            _retiring(spec, journal, home)  # an engine may have saved a moment later
    if early is not None:
        raise StudyInterruptedError


def _close_orphans(spec: StudySpec, journal: Journal, home: StudyHome) -> None:
    """Close what the driver before left open: engines' accounts, checkpoints of ended trials."""
    for account in heartbeats.orphans(home.path, journal.entries):
        journal.append(heartbeats.closing(account, "lost", "driver"))
    journal.commit()
    heartbeats.forget(home.path)
    _retiring(spec, journal, home)


def _retiring(spec: StudySpec, journal: Journal, home: StudyHome) -> Retiring:
    """What removes checkpoints; those of the journal so far are removed."""
    retiring = Retiring(spec, home)
    for entry in journal.entries:
        retiring.follow(entry)
    return retiring


def _conclude(
    spec: StudySpec, journal: Journal, home: StudyHome, mlflow: MlflowProcess
) -> ShownReport:
    """Report, in the study's home and in MLflow."""
    from study.managing.report import write_report  # loads statistics, which takes long

    begins(f"{spec.name}: writing the report")
    report = write_report(journal.entries, home)
    _log_report(report, home, mlflow)
    return report


def _log_report(report: Report, home: StudyHome, mlflow: MlflowProcess) -> None:
    from study.analysis.answers.by_arm import arm_answers, study_answer
    from study.analysis.records.tables import TABLE_FILES

    files = {
        "report/report.txt": home.report / "report.txt",
        "report/report.html": home.page,
        **{f"report/figures/{path.name}": path for path in sorted(home.figures.iterdir())},
        **{file: home.path / file for file in TABLE_FILES.values()},
        "spec.yaml": home.spec,
    }
    files = {name: path for name, path in files.items() if path.exists()}  # copies may be gone
    mlflow.finish_study(files, study_answer(report), arm_answers(report))
    backlog = mlflow.state().unsent
    if backlog > MLFLOW_BACKLOG:
        print(f"the study is done; {backlog:,} events are still sent to MLflow", file=sys.stderr)
    unsent, problem, _ = mlflow.close(MLFLOW_PATIENCE, drain=True)
    if unsent:
        print(
            f"MLflow did not take {unsent} events ({problem}); "
            "they are in the journal and are sent when the study is launched again",
            file=sys.stderr,
        )


def _rehearse(spec: StudySpec, told: Iterable[TrialsTold], begun: Collection[str]) -> None:
    """Say what the searches' samplers and pruners can do.

    Raises:
        SpecError: a sampler could do nothing, in a study that has not begun.
    """
    from study.search.rehearsal import rehearse

    for rehearsal in rehearse(spec, told, begun=begun):
        for line in (str(rehearsal), rehearsal.warning and f"warning: {rehearsal.warning}"):
            if line:
                print(line, file=sys.stderr)


def _begin(
    spec: StudySpec,
    data: PreparedData,
    roles: Mapping[str, Mapping[str, Any]],
    journal: Journal,
    home: StudyHome,
) -> None:
    """Freeze the spec and record that this launch begins."""
    known = last_description(journal.entries)
    with atomic_write(home.spec) as file:
        file.write(yaml.safe_dump(spec.to_dict(), sort_keys=False).encode())
    described = StudyDescribed(
        name=spec.name,
        spec=spec.to_dict(),
        spec_hash=spec.hash,
        code_version=code_version(),
        data=data.to_dict(),
        roles={**roles, **kept_roles(spec, known.roles if known else {})},
        design=spec.design,
    )
    if known is None or known.roles != described.roles or not begun_as(known, spec):
        journal.append(described)
    host = os.uname().nodename
    journal.append(LaunchBegan(journal.epoch, os.getpid(), host, list(sys.argv)))
    journal.commit()


def _dims(data: PreparedData) -> int:
    channels, height, width = data.shape
    return channels * height * width
