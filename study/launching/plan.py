"""``study plan``: what a study's file can show and what more would take. Nothing is trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from study.analysis.answers.design import design_of
from study.analysis.answers.plan import Pilot, Plan, pilot_of
from study.analysis.records.image_scores import image_scores
from study.analysis.records.tables import study_facts, tables_of
from study.journal import StudyHome, has_events
from study.launching.checks import settle
from study.launching.preparing import prepare_images
from study.metrics import metric
from study.spec import StudySpec, check_splits, training_steps
from study.statistics import FEWEST
from vae_core.data import Dataset
from vae_core.errors import UserError


class PlanError(UserError):
    """A plan that cannot be made from what is given."""


def plan(
    spec: StudySpec,
    home: Path,
    data_root: Path | None,
    *,
    earlier: StudyHome | None = None,
    spread: float | None = None,
) -> Plan:
    """What the seeds, trials and replicates of ``spec`` can show. Prepares the data.

    Args:
        spec: The study.
        home: The studies' home.
        data_root: A folder with datasets already there.
        earlier: A study whose records say how differences vary; by default the spec's own, as far
            as it has run.
        spread: The standard deviation of the paired difference instead, in the objective's unit.

    Raises:
        PlanError: both are given, the earlier study compares nothing by the objective, or the
            standard deviation is not above 0.
        UserError: the spec or its data are wrong.
    """
    known = None
    if spread is not None:
        known = _given(spread, spec, earlier)
    elif earlier is not None:
        known = _recorded(earlier, spec)
    own = StudyHome(home, spec.name)
    spec = settle(spec, own)
    data = prepare_images(spec, home / "data", data_root)
    check_splits(spec, data)
    train = len(Dataset.open(data, spec.data.validation, verify=False).train)
    return plan_of(spec, images_of_run(spec, train), own, known)


def images_of_run(spec: StudySpec, train: int) -> int:
    """Images that a run of the study's own settings trains on, of so many training images."""
    batch = spec.training.batch_size
    return training_steps(spec.training.epochs, batch, train) * batch


def plan_of(spec: StudySpec, run: int, own: StudyHome, known: Pilot | None = None) -> Plan:
    """The plan of ``spec``, by what its study has shown and claimed as far as it has run.

    Args:
        spec: The study.
        run: Images that a run of it trains on.
        own: Its own home.
        known: How differences vary; None: as its own records say.
    """
    if not has_events(own.path):
        return Plan(spec, run, known)
    tables = tables_of(own.path)
    facts = study_facts(tables["trials"])
    design, seeds = design_of(facts, facts["spec"]), len(facts["spec"]["seeds"])
    reported = max(design.reported_at, default=0)
    if facts["finished"] and seeds >= FEWEST:
        reported = seeds
    pilot = known or _pilot(tables, own, spec)
    return Plan(spec, run, pilot, reported, design.error, facts["roles"])


def _pilot(tables: Mapping[str, pa.Table], home: StudyHome, spec: StudySpec) -> Pilot | None:
    scores = image_scores(tables["trials"], home.path, spec.objective)
    return pilot_of(tables, scores, spec.objective)


def _recorded(earlier: StudyHome, spec: StudySpec) -> Pilot:
    found = _pilot(tables_of(earlier.path), earlier, spec) if has_events(earlier.path) else None
    if found is None:
        objective = metric(spec.objective).label
        raise PlanError(
            f"no hand-tuned and automatic arm of study '{earlier.name}' have two seeds in common "
            f"with {objective} on test",
            where="--from",
            remedy="name a study that has compared them, or give --spread VALUE",
        )
    return found


def _given(spread: float, spec: StudySpec, earlier: StudyHome | None) -> Pilot:
    if earlier is not None:
        raise PlanError(
            "a study and a standard deviation are given", where="--from", remedy="give one of them"
        )
    if not 0 < spread < float("inf"):
        remedy = "give the standard deviation of the paired difference over seeds, e.g. 0.5"
        raise PlanError(f"{spread:g} is no standard deviation", where="--spread", remedy=remedy)
    objective = metric(spec.objective)
    value = f"{objective.number(spread)} {objective.unit}".strip()
    return Pilot(f"a standard deviation of {value}, taken as known", spread)
