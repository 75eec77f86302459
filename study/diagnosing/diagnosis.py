"""``study doctor``, and its short form at every launch on a cluster."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from study.diagnosing import places
from study.diagnosing.checks import (
    Row,
    State,
    all_checks,
    launch_checks,
    ok,
    slow_bfloat16,
)
from study.diagnosing.storage import trial_folder
from study.engine.parts import Part, parts_of
from study.spec import StudySpec
from study.tracking import TrackingError, probe_store, tracking_uri
from vae_core.errors import UserError
from vae_core.precision import Precision, has_bfloat16

if TYPE_CHECKING:
    from study.analysis.rendering.tables.table import TextTable

EXPERIMENT = "study-doctor"
"""In MLflow, where no study file names one."""


class ClusterError(UserError):
    """A cluster on which a study would be wrong or impossible."""


@dataclass(frozen=True)
class Diagnosis:
    """What a study would meet on a machine, or on a cluster."""

    rows: tuple[Row, ...]

    @property
    def problems(self) -> list[Row]:
        """The rows that want something done."""
        return [row for row in self.rows if row.state == State.PROBLEM]

    @property
    def table(self) -> TextTable:
        """A row a check."""
        # Not with the module: it brings SciPy, for which every launch would wait.
        from study.analysis.rendering.tables.table import TextTable

        cells = [(row.check, row.state, row.found, row.remedy) for row in self.rows]
        return TextTable("", "", ("check", "state", "found", "what to do"), cells, left=4)

    def __str__(self) -> str:
        from study.analysis.rendering.tables.table import lines_of

        return "\n".join(line.strip() for line in lines_of(self.table))


def diagnose(spec: StudySpec | None, home: Path, *, cluster: bool) -> Diagnosis:
    """Every check, of this machine alone or also of each node of the ``cluster`` connected to.

    Nothing that it makes stays.

    Args:
        spec: the study whose own parts and whose experiment in MLflow are tried as well.
        home: the studies' home.
        cluster: whether Ray is connected to a cluster.
    """
    parts = parts_of(spec)
    rows: list[Row] = []
    with ExitStack() as stack:
        folder: Path | None = None
        try:
            folder = stack.enter_context(trial_folder(home))
            here = places.driver(() if cluster else parts, folder)
        except OSError as error:
            remedy = "give a folder you may write to with --home or STUDY_HOME"
            what = f"{home}: cannot write here: {error.strerror}"
            rows.append(Row("home", State.PROBLEM, what, remedy, refuses=True))
            folder, here = None, places.driver(() if cluster else parts)
        found = [here, *(places.nodes(parts, folder) if cluster else ())]
        rows += all_checks(found, None if spec is None else spec.engines)
    return Diagnosis((*rows, _mlflow(spec, home), _authentication(cluster=cluster)))


def check_machine(precision: Precision, device: str) -> Iterator[str]:
    """What a launch on this machine asks of it: a line for each problem.

    Args:
        precision: of the study's engines.
        device: that they train on here, ``cpu`` or ``cuda``.
    """
    slow = device == "cpu" and precision == "bfloat16" and not has_bfloat16()
    return _lines([slow_bfloat16()] if slow else [])


def check_cluster(spec: StudySpec, parts: Iterable[Part]) -> Iterator[str]:
    """The checks that cost seconds, of the cluster connected to: a line for each problem.

    Args:
        spec: the study.
        parts: what an engine imports.

    Raises:
        ClusterError: the study would be wrong or impossible there.
    """
    found = [places.driver(gpus=False), *places.nodes(parts, gpus=False)]
    rows = list(launch_checks(found, spec.engines))
    for row in rows:
        if row.refuses:
            raise ClusterError(row.found, where=f"cluster: {row.check}", remedy=row.remedy)
    return _lines(rows)


def _lines(rows: Iterable[Row]) -> Iterator[str]:
    problems = (row for row in rows if row.state == State.PROBLEM)
    return (f"{row.check}: {row.found}; {row.remedy}" for row in problems)


def _mlflow(spec: StudySpec | None, home: Path) -> Row:
    uri = tracking_uri(home)
    name = EXPERIMENT if spec is None else spec.name
    question = "Written by `study doctor`" if spec is None else spec.question
    try:
        probe_store(uri, home, name, question, begun=False, keep=False)
    except TrackingError as error:
        return Row("MLflow", State.PROBLEM, error.what, error.remedy, refuses=True)
    embedded = "a database in the home" if uri.startswith("sqlite") else "answers and takes entries"
    return ok("MLflow", embedded)


def _authentication(*, cluster: bool) -> Row:
    mode = os.environ.get("RAY_AUTH_MODE")
    if mode == "token" or (mode is None and not cluster):  # a local Ray gets one of its own
        return ok("authentication", "token")
    remedy = (
        "let nobody else reach its ports: who does can run code as you; or start every node with "
        "RAY_AUTH_MODE=token and one token"
    )
    return Row("authentication", State.NOTE, "none", remedy)
