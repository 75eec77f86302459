"""Trials of an earlier search, read for a search that begins with them.

Of a trial its parameters and its value are taken, and nothing else: Optuna keeps pickled objects in
the attributes of some.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from math import fsum, isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.journal import StudyHome, has_events, read_entries
from study.journal.events import TrialsTold, told_by
from study.spec import SAMPLERS, Begun, SearchSpec, SpecError, StudySpec
from study.spec.arms import WarmStartSpec
from study.spec.conventions import Convention
from study.spec.distributions import drawable
from study.spec.errors import shown

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

SQLITE = "sqlite:///"
HALF_SUM = "S/2 + beta R"


def earlier_trials(spec: StudySpec, home: StudyHome) -> list[TrialsTold]:
    """What the arms of ``spec`` are told: by its journal of those that have begun, else read now.

    Raises:
        SpecError: an earlier search cannot be read, or has no trial of the arm's space.
    """
    begun = _begun(spec, home)
    return [begun.get(name) or _told(spec, name, home) for name in _warm_starts(spec)]


def other_trainings(spec: StudySpec, home: StudyHome) -> Iterator[str]:
    """A warning for each arm that is yet to be told what another training gave."""
    begun = _begun(spec, home)
    for name, search in _warm_starts(spec).items():
        given = search.warm_start
        if given is None or given.storage is not None or name in begun:
            continue
        past = Begun.of(StudyHome(home.studies, given.study))
        others = ", ".join(_others(spec, name, past.spec)) if past else ""
        if others:
            yield (
                f"arm '{name}' is told trials of another training: {others}; where their "
                f"best {' and '.join(search.space)} is another, the search starts there"
            )


def _others(spec: StudySpec, arm: str, earlier: StudySpec) -> Iterator[str]:
    """What of model, training and balancer was another for all trials that an arm is told."""
    search = spec.arms[arm].search
    assert search is not None
    assert search.warm_start is not None
    mine = spec.arms[arm].balancer.name
    for name in _fitting(earlier, set(search.space)):
        theirs = earlier.arms[name].balancer.name
        if search.warm_start.arm in (None, name) and theirs != mine:
            yield f"balancer {theirs} instead of {mine}"
    ignored = {*search.space, "training.reports"}
    for section in ("model", "training"):
        then, now = (getattr(study, section).model_dump() for study in (earlier, spec))
        for key in {**now, **then}:
            if then.get(key) != now.get(key) and f"{section}.{key}" not in ignored:
                values = (shown(found.get(key)) for found in (then, now))
                yield f"{section}.{key} {' instead of '.join(values)}"


def _warm_starts(spec: StudySpec) -> dict[str, SearchSpec]:
    searches = ((name, arm.search) for name, arm in spec.arms.items())
    return {name: found for name, found in searches if found and found.warm_start}


def _begun(spec: StudySpec, home: StudyHome) -> dict[str, TrialsTold]:
    """By arm, what the study's journal says it was told."""
    begun = _warm_starts(spec) and has_events(home.path)
    return told_by(read_entries(home.path, TrialsTold)) if begun else {}


def _told(spec: StudySpec, arm: str, home: StudyHome) -> TrialsTold:
    search = spec.arms[arm].search
    assert search is not None
    given = search.warm_start
    assert given is not None
    where = f"arms.{arm}.search.warm_start"
    read = _from_study if given.storage is None else _from_storage
    told = read(spec, arm, given, home, where)
    if not told.trials:
        raise SpecError(
            f"no trial of {told.source} is complete and has {' and '.join(search.space)} in the "
            "ranges that are searched here",
            where=where,
            remedy="widen the space, or leave warm_start out",
        )
    return told


def _from_study(
    spec: StudySpec, arm: str, given: WarmStartSpec, home: StudyHome, where: str
) -> TrialsTold:
    from study.analysis.answers.costs import told_cost
    from study.analysis.records.tables import tables_of

    source = StudyHome(home.studies, given.study)
    past = None if source == home else Begun.of(source)
    if past is None:
        raise SpecError(
            f"there is no earlier study '{given.study}' in {home.studies}",
            where=where,
            remedy="name another study of this home, or give the Optuna storage it is in",
        )
    earlier = past.spec
    if earlier.objective != spec.objective:
        raise SpecError(
            f"study '{given.study}' minimised {earlier.objective}, and this one minimises "
            f"{spec.objective}",
            where=where,
            remedy=f"give objective: {earlier.objective}, or another study",
        )
    if earlier.data != spec.data:
        raise SpecError(
            f"study '{given.study}' has other images, on which objectives are of another size",
            where=where,
            remedy="give a study of the same data, with the same settings",
        )
    search = spec.arms[arm].search
    assert search is not None
    chosen = _arm(earlier, given, set(search.space), where)
    mine, theirs = (study.arms[name].balancer for study, name in ((spec, arm), (earlier, chosen)))
    losses = _loss(spec, mine.loss), _loss(earlier, theirs.loss)
    if "beta" in search.space and losses[0] != losses[1]:
        here, there = (str(found or HALF_SUM) for found in (mine.loss, theirs.loss))
        raise SpecError(
            f"its beta is for another loss: {there}, here {here}",
            where=where,
            remedy="give beta and its space for the same loss, by balancer.convention",
        )
    trials = tables_of(source.path)["trials"]
    rows = [row for row in trials.to_pylist() if row["arm"] == chosen and row["phase"] == "search"]
    attempts = {(row["replicate"], row["number"]): row for row in rows}  # of retries the last
    known = [
        (json.loads(row["params"]), row["objective"] if row["state"] == "complete" else None)
        for row in attempts.values()
    ]
    usable = list(_usable(known, search))
    # A search that began with another one has cost that one, too.
    before = told_cost(trials, chosen)
    standard = [before.standard, *(row["standard_seconds"] for row in rows)]
    return TrialsTold(
        arm=arm,
        source=f"study '{given.study}', arm '{chosen}'",
        trials=usable,
        left_out=len(known) - len(usable),
        images=int(before.images) + sum(row["images"] for row in rows),
        billed=fsum([before.billed, *(row["billed_seconds"] for row in rows)]),
        standard=None if None in standard else fsum(standard),
    )


def _loss(spec: StudySpec, given: Convention | None) -> Mapping[str, Any]:
    """What decides beside the image what a beta means, whatever name the loss has."""
    loss = given or Convention(reconstruction="half_sum")
    at = {"model.latent": spec.model.latent, "training.batch_size": spec.training.batch_size}
    return {**loss.model_dump(exclude={"name"}), **{key: at[key] for key in loss.depends_on}}


def _fitting(earlier: StudySpec, space: set[str]) -> list[str]:
    """Arms that search just ``space``, each trial a whole training."""
    searches = ((name, arm.search) for name, arm in earlier.arms.items() if arm.search)
    return [
        name
        for name, search in searches
        if set(search.space) == space and not SAMPLERS[search.sampler.name].evolves
    ]


def _arm(earlier: StudySpec, given: WarmStartSpec, space: set[str], where: str) -> str:
    """The arm of the earlier study whose trials are meant."""
    fitting = _fitting(earlier, space)
    chosen = [name for name in fitting if given.arm in (None, name)]
    if len(chosen) == 1:
        return chosen[0]
    keys, whole = " and ".join(sorted(space)), "each trial a whole training"
    what = f"{len(chosen)} arms of study '{given.study}' search {keys} and nothing else, {whole}"
    if given.arm is not None:
        what = f"study '{given.study}' has no arm '{given.arm}' that searches just {keys}, {whole}"
    raise SpecError(
        what,
        where=where,
        remedy=f"give arm: {' or '.join(fitting)}" if fitting else "name another study",
    )


def _from_storage(
    spec: StudySpec, arm: str, given: WarmStartSpec, home: StudyHome, where: str
) -> TrialsTold:
    import optuna

    search = spec.arms[arm].search
    assert search is not None
    assert given.storage is not None
    assert given.images is not None
    assert given.device_seconds is not None
    try:
        study = optuna.load_study(study_name=given.study, storage=_storage(given.storage, where))
        directions = study.directions
        trials = study.get_trials(deepcopy=False)
    except SpecError:
        raise
    except Exception as error:  # a storage's driver raises anything
        raise SpecError(
            f"study '{given.study}' cannot be read there: {type(error).__name__}: {error}",
            where=where,
            remedy="correct the storage or the study's name",
        ) from error
    if directions != [optuna.study.StudyDirection.MINIMIZE]:
        raise SpecError(
            f"study '{given.study}' does not minimise one value, as this search does",
            where=where,
            remedy="name a study that does",
        )
    complete = optuna.trial.TrialState.COMPLETE
    known = [
        (dict(trial.params), trial.value if trial.state is complete else None) for trial in trials
    ]
    usable = list(_usable(known, search))
    return TrialsTold(
        arm=arm,
        source=f"study '{given.study}' in {given.storage}",
        trials=usable,
        left_out=len(known) - len(usable),
        images=given.images,
        billed=given.device_seconds,
        standard=given.device_seconds,
    )


def _storage(given: str, where: str) -> str | BaseStorage:
    """The storage, if it is there: Optuna would make a database that is not."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    if "://" in given and not given.startswith(SQLITE):
        return given
    file = Path(given.removeprefix(SQLITE)).expanduser()
    if not file.is_file():
        raise SpecError(f"there is no file {file}", where=where, remedy="correct the path")
    with file.open("rb") as content:
        database = content.read(16) == b"SQLite format 3\0"
    if not database:
        return JournalStorage(JournalFileBackend(str(file)))
    _refuse_other_databases(file, where)
    return f"{SQLITE}{file}"


def _refuse_other_databases(file: Path, where: str) -> None:
    """Refuse a database that is not Optuna's: Optuna would add its tables to it."""
    import sqlite3
    from contextlib import closing

    query = "SELECT 1 FROM sqlite_master WHERE name = 'trial_values'"
    with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)) as database:
        found = database.execute(query).fetchone()
    if found is None:
        raise SpecError(f"{file} is no storage of Optuna", where=where, remedy="correct the path")


def _usable(
    known: Sequence[tuple[Mapping[str, Any], float | None]], search: SearchSpec
) -> Iterator[dict[str, Any]]:
    """The complete trials whose parameters are a point of the space."""
    for params, value in known:
        if value is None or not isfinite(value) or set(params) != set(search.space):
            continue
        found = {key: drawable(search.space[key], params[key]) for key in search.space}
        if None not in found.values():
            yield {"params": found, "value": value}
