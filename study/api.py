"""The command line's verbs as functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from warnings import warn

from study.journal import HomeError, StudyHome, read_entries, studies_home
from study.managing.specs import changed_spec, frozen_spec
from study.spec import StudySpec, arm_roles, load_spec, warnings
from vae_core.errors import StudyWarning, UserError  # noqa: F401 (for those who catch it)

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from optuna.storages import JournalStorage

    from study.analysis.answers.multi_study import SeveralReport
    from study.analysis.answers.plan import Plan
    from study.analysis.rendering.notebook import ShownReport
    from study.diagnosing.diagnosis import Diagnosis
    from study.exporting.model import Exported
    from study.launching.dry_run import Estimate
    from study.launching.first_study import FirstStudy
    from study.managing.cleanup import Cleanup
    from study.managing.status import Listed, Status
    from study.replaying.result import Replay
    from study.verifying.compare import Verification

PathLike = Path | str


def init(
    kind: str,
    path: PathLike | None = None,
    overrides: Sequence[str] = (),
    *,
    folder: PathLike = ".",
    home: PathLike | None = None,
) -> FirstStudy:
    """Write a first study file, commented, that runs as it is, into ``folder``.

    For ``folder`` and ``parquet`` it looks at the images in ``path`` and makes a study of their
    size and number. Other arguments and errors as for :func:`study.launching.first_study.init`.
    """
    from study.launching.first_study import init as write

    return write(kind, _path(path), overrides, Path(folder), studies_home(home))


def launch(
    file: PathLike,
    overrides: Sequence[str] = (),
    *,
    home: PathLike | None = None,
    data_root: PathLike | None = None,
    address: str | None = None,
    take_over: bool = False,
) -> ShownReport:
    """Run the study that ``file`` describes, or resume it if it has begun.

    Args:
        file: the study file, or a name: that of NAME.yaml in the current folder, else of a study
            that comes with the package.
        overrides: changes to it, each ``key.path=value``.
        home: the studies' home; by default $STUDY_HOME, or ``./studies``.
        data_root: a folder with datasets already there; by default they are downloaded.
        address: a Ray cluster's address ("auto" finds it); by default a local Ray.
        take_over: take the study from the process that runs it, which then changes nothing more.

    Raises:
        UserError: what is wrong, where, and how to correct it.
        study.launching.driver.StudyInterruptedError: Ctrl-C or SIGTERM; launch again to resume.
    """
    return _run(partial(load_spec, file, overrides), home, data_root, address, take_over, new=True)


def resume(
    name: str,
    overrides: Sequence[str] = (),
    *,
    home: PathLike | None = None,
    data_root: PathLike | None = None,
    address: str | None = None,
    take_over: bool = False,
) -> ShownReport:
    """Resume study ``name`` as it was last launched, with ``overrides`` applied to that.

    Arguments as for :func:`launch`.
    """
    load = partial(resume_spec, name, overrides, home=home)
    return _run(load, home, data_root, address, take_over, new=False)


def fork(
    name: str,
    new: str,
    overrides: Sequence[str] = (),
    *,
    home: PathLike | None = None,
    data_root: PathLike | None = None,
    address: str | None = None,
) -> ShownReport:
    """Run a new study ``new`` from the spec of study ``name``, with ``overrides`` applied to it.

    It changes and reuses nothing of ``name``. Other arguments as for :func:`launch`.

    Raises:
        HomeError: there is a study ``new`` already.
    """
    load = partial(fork_spec, name, new, overrides, home=home)
    return _run(load, home, data_root, address, new=True)


def fork_spec(
    name: str, new: str, overrides: Sequence[str] = (), *, home: PathLike | None = None
) -> StudySpec:
    """The spec that :func:`fork` would run."""
    source = find(name, home)
    there = StudyHome(source.studies, new)
    if begun(there):
        raise HomeError(
            f"there is a study '{new}' already",
            where=str(source.studies),
            remedy=f"give another name; `{there.command('resume')}` resumes that one",
        )
    return changed_spec(source, overrides, new)


def dry_run(
    study: PathLike | StudySpec,
    overrides: Sequence[str] = (),
    *,
    home: PathLike | None = None,
    data_root: PathLike | None = None,
    address: str | None = None,
    take_over: bool = False,
) -> Estimate:
    """What :func:`launch` would run, cost and refuse of a study, given as a file or a spec.

    It starts nothing. Of a study that has begun, what is left counts; the costs are estimated from
    a few timed steps. Arguments as for :func:`launch`.
    """
    from study.launching.dry_run import estimate

    spec = study if isinstance(study, StudySpec) else load_spec(study, overrides)
    _warn(spec, arm_roles(spec), stacklevel=3)
    where = studies_home(home)
    return estimate(spec, where, _path(data_root), address=address, take_over=take_over)


def plan(
    study: PathLike | StudySpec,
    overrides: Sequence[str] = (),
    *,
    earlier: str | None = None,
    spread: float | None = None,
    home: PathLike | None = None,
    data_root: PathLike | None = None,
) -> Plan:
    """What a study's seeds, trials and replicates can show, and what more would take.

    It starts nothing. ``earlier`` names a study of this home whose records say how the paired
    difference varies over seeds, ``spread`` gives its standard deviation; without either it is what
    the study itself has recorded so far. Other arguments as for :func:`launch`.

    Raises:
        study.launching.plan.PlanError: the earlier study says nothing of it, or both are given.
    """
    from study.launching.plan import plan as plan_of

    spec = study if isinstance(study, StudySpec) else load_spec(study, overrides)
    known = None if earlier is None else find(earlier, home)
    return plan_of(spec, studies_home(home), _path(data_root), earlier=known, spread=spread)


def doctor(
    file: PathLike | None = None, *, home: PathLike | None = None, address: str | None = None
) -> Diagnosis:
    """Check this machine, or a cluster's nodes too, for what a study needs. Nothing stays of it.

    With ``file`` its own models and balancers are imported as well. Without ``address`` no Ray is
    started. Arguments as for :func:`launch`.
    """
    from study.launching.examining import examine

    spec = None if file is None else load_spec(file)
    return examine(spec, studies_home(home), address)


def resume_spec(
    name: str, overrides: Sequence[str] = (), *, home: PathLike | None = None
) -> StudySpec:
    """The spec that :func:`resume` would run."""
    return changed_spec(find(name, home), overrides)


def stop(
    name: str,
    *,
    arm: str | None = None,
    trial: str | None = None,
    home: PathLike | None = None,
) -> str:
    """Stop study ``name`` as a Ctrl-C would, or for good one arm or one trial of it.

    Returns:
        The outcome, or when the command takes effect.

    Raises:
        study.managing.control.CommandError: that cannot be stopped.
        study.managing.control.CommandTimeoutError: the study's driver does not stop.
    """
    from study.managing.control import CommandError, stop_arm, stop_study, stop_trial

    found = find(name, home)
    match arm, trial:
        case None, None:
            return stop_study(found)
        case str(), None:
            return stop_arm(found, arm)
        case None, str():
            return stop_trial(found, trial)
    raise CommandError("an arm and a trial are given", where=name, remedy="give one of them")


def retry(name: str, trial: str, *, home: PathLike | None = None) -> str:
    """Run a failed or pruned trial of study ``name`` again.

    Returns:
        When the command takes effect.

    Raises:
        study.managing.control.CommandError: that cannot be retried.
    """
    from study.managing.control import retry_trial

    return retry_trial(find(name, home), trial)


def report(
    name: str,
    *,
    home: PathLike | None = None,
    target: float | None = None,
    price: str | None = None,
) -> ShownReport:
    """Rewrite the tables and the report of study ``name`` from its journal, and return it.

    Args:
        name: the study's name.
        home: the studies' home; by default $STUDY_HOME, or ``./studies``.
        target: a value of the objective on test; the report then has the cost of reaching it.
        price: of device time, as in "2.5/h" or "2.5 EUR/h"; costs are then in money, too.
    """
    from study.analysis.answers.prices import Price
    from study.journal.events import SHOWN
    from study.managing.report import write_report

    money = None if price is None else Price.read(price)
    found = find(name, home)
    _refuse_links(found.report, *found.report.rglob("*"), *found.path.glob(".*.partial"))
    return write_report(read_entries(found.path, *SHOWN), found, target=target, price=money)


def compare(
    names: Sequence[str],
    *,
    home: PathLike | None = None,
    target: float | None = None,
    price: str | None = None,
) -> tuple[list[ShownReport], SeveralReport]:
    """The reports of several studies, as :func:`report` writes them, and their comparison.

    The comparison's page is :func:`study.managing.report.joint_page`.
    """
    from study.analysis.answers.multi_study import check_distinct, combine
    from study.managing.report import write_joint_page

    check_distinct(names)  # before reports are written, which takes seconds each
    reports = [report(name, home=home, target=target, price=price) for name in names]
    joint = combine(reports)
    write_joint_page(joint, reports, [find(name, home) for name in names])
    return reports, joint


def load(
    name: str, *, home: PathLike | None = None, arrow: bool = False
) -> dict[str, pd.DataFrame] | dict[str, pa.Table]:
    """The tables ``records`` and ``trials`` of study ``name``, as pandas or as Arrow.

    The trials' frame has a column for each searched parameter too, ``params_`` and its name.
    """
    from study.analysis.records.frames import frames
    from study.analysis.records.tables import tables_of

    tables = tables_of(find(name, home).path)
    return tables if arrow else frames(tables)


def clean(name: str, *, home: PathLike | None = None, dry_run: bool = False) -> Cleanup:
    """Free disk of study ``name``; its report and its resumption need nothing that is removed.

    With ``dry_run`` nothing is removed. See :func:`study.managing.cleanup.clean`.
    """
    from study.managing.cleanup import clean as clean_home

    found = find(name, home)
    _refuse_links(found.journal)
    return clean_home(found, dry_run=dry_run)


def verify(
    name: str,
    trial: str | None = None,
    *,
    home: PathLike | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> Verification:
    """Train a complete trial of study ``name`` again, and compare the results bit by bit.

    Arguments and errors as for :func:`study.verifying.retrain.verify`.
    """
    from study.verifying.retrain import verify as verify_home

    return verify_home(find(name, home), trial, progress)


def export(name: str, arm: str, folder: PathLike, *, home: PathLike | None = None) -> Exported:
    """Write the best model of ``arm`` of study ``name`` into ``folder``, for use elsewhere.

    :func:`study.exporting.model.export` has its content and the errors raised;
    :func:`vae_core.export.load` reads it.
    """
    from study.exporting.model import export as export_model

    return export_model(find(name, home), arm, Path(folder))


def replay(
    name: str,
    sampler: str | Mapping[str, Any],
    pruner: str | Mapping[str, Any] | None = None,
    *,
    arm: str | None = None,
    trials: int | None = None,
    batch: int | None = None,
    repeats: int = 200,
    home: PathLike | None = None,
) -> Replay:
    """What a sampler and a pruner would have achieved on the recorded trials of study ``name``.

    Nothing is trained. Arguments and errors as for :func:`study.replaying.run.replay`.
    """
    from study.replaying.run import replay as replay_home

    found = find(name, home)
    policy: dict[str, Any] = {"arm": arm, "trials": trials, "batch": batch, "repeats": repeats}
    return replay_home(found, frozen_spec(found), sampler, pruner, **policy)


def storage(name: str, *, home: PathLike | None = None) -> JournalStorage:
    """A read-only Optuna storage of study ``name``, running or not.

    For Optuna's own analysis and plots, and for optuna-dashboard:
    ``optuna_dashboard.run_server(study.storage(NAME))``. It follows the journal; writing to it
    raises a :class:`study.journal.backend.ReadOnlyError`.
    """
    from optuna.storages import JournalStorage

    from study.journal.backend import ReadOnlyBackend

    return JournalStorage(ReadOnlyBackend(find(name, home).path))


def status(name: str, *, home: PathLike | None = None) -> Status:
    """Where study ``name`` is: trials done of those planned, time left, best, what went wrong."""
    from study.managing.status import study_status

    return study_status(find(name, home))


def studies(*, home: PathLike | None = None) -> list[Listed]:
    """The studies of a home with state and verdict, the latest first."""
    from study.managing.status import studies as listed

    return listed(studies_home(home))


def find(name: str, home: PathLike | None = None) -> StudyHome:
    """The home of study ``name``.

    Raises:
        HomeError: there is no such study.
    """
    return StudyHome(studies_home(home), name).recorded()


def begun(home: StudyHome) -> bool:
    """Whether ``home`` holds a study that can be resumed."""
    try:
        find(home.name, home.studies)
    except HomeError:
        return False
    return True


def _warn(spec: StudySpec, roles: Mapping[str, Any], stacklevel: int) -> None:
    for sentence in warnings(spec, roles):
        warn(sentence, StudyWarning, stacklevel=stacklevel)


def _refuse_links(*paths: Path) -> None:
    """Make sure that what is written lands in the study's own folder."""
    for path in paths:
        if path.is_symlink():
            raise HomeError(
                "this is a link: what is written there would land elsewhere",
                where=str(path),
                remedy="replace it by a folder or file",
            )


def _run(
    load: Callable[[], StudySpec],
    home: PathLike | None,
    data_root: PathLike | None,
    address: str | None,
    take_over: bool = False,
    *,
    new: bool,
) -> ShownReport:
    """Run the spec that ``load`` gives; a ``new`` one's warnings are given."""
    from study.launching.beginning import beginning

    with beginning(address) as aside:
        from study.launching.driver import Options, run

        spec = aside.core(load)
        if new:
            _warn(spec, aside.core(arm_roles, spec), stacklevel=4)
        there = StudyHome(studies_home(home), spec.name)
        return run(spec, Options(there, _path(data_root), address, take_over), *aside)


def _path(path: PathLike | None) -> Path | None:
    return None if path is None else Path(path)
