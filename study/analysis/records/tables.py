"""`records.parquet` and `trials.parquet`: a study's journal as two tables.

Both are a function of the journal alone, to the last byte: no clock, no order of a hash table.
The metadata of both schemas holds, under the key `study`, the rest of what a report needs: the
spec, the arms' roles, the engines' times, and whether the study is finished.

A trial's results are the same whatever was killed on the way, in every column of the trials
whose name says nothing of seconds, redone, lost, started, ended or engine.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from math import fsum, isfinite
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from study.analysis.records.engine_time import PURPOSES
from study.analysis.records.history import History, Reports, TrialHistory
from study.journal import read_entries
from study.journal.events import SHOWN, ArmPiloted, Entry, TrialsTold
from study.metrics import recorded
from vae_core.atomic import atomic_write
from vae_core.errors import UserError

TABLE_FILES = {"records": "records.parquet", "trials": "trials.parquet"}
"""The file of each table, in the study's home."""

REPORT_METRICS = recorded(("train", "", "validation"))
"""Metrics that every study has a column for. Others, a user's own or a final evaluation's, get a
column each after these, in alphabetical order."""
TRIAL_METRICS = [*REPORT_METRICS, *recorded(("test",))]

_IDENTITY = (
    ("study", pa.string()),
    ("arm", pa.string()),
    ("phase", pa.string()),  # search, confirm
    ("replicate", pa.int64()),
    ("number", pa.int64()),
    ("trial", pa.string()),
    ("seed", pa.int64()),
)

_REPORT_FIELDS = (
    *_IDENTITY,
    ("step", pa.int64()),  # the report's index in its trial, from 1
    ("time", pa.float64()),  # of the journal: seconds since 1970
    ("engine", pa.string()),
    ("images", pa.int64()),  # trained on since the trial's beginning
    ("training_seconds", pa.float64()),  # device seconds since the report before
    ("evaluation_seconds", pa.float64()),
    ("second_stage_seconds", pa.float64()),
)

_TRIAL_FIELDS = (
    *_IDENTITY,
    ("params", pa.string()),  # JSON, keys sorted; as the spec names them
    ("course", pa.string()),  # JSON; where params change on the way, how they did; else null
    ("settings", pa.string()),  # JSON, keys sorted; resolved, beta = k sigma^2
    ("chosen_from", pa.int64()),  # confirm: number of the search trial it trains again
    ("retry_of", pa.string()),  # the trial it runs again
    ("drawn_by", pa.string()),  # search: the sampler, or random; null: not recorded
    ("stage", pa.string()),  # confirm, of a study in two stages: choosing, comparing; else null
    ("state", pa.string()),  # waiting, running, interrupted, complete, pruned, failed
    ("reason", pa.string()),
    ("chosen", pa.bool_()),  # see study.journal.trial.standing
    ("objective", pa.float64()),  # on validation, as given to Optuna
    ("steps", pa.int64()),
    ("started", pa.float64()),
    ("ended", pa.float64()),
    ("engine", pa.string()),  # the last it was on
    ("engine_deaths", pa.int64()),  # that died while they trained it
    ("shape", pa.string()),
    ("numerics_key", pa.string()),  # JSON, keys sorted
    ("artifacts", pa.string()),  # JSON, keys sorted: name -> path in the study's home
    ("images", pa.int64()),
    ("redone_images", pa.int64()),
    *((f"{purpose}_seconds", pa.float64()) for purpose in PURPOSES),
    ("billed_seconds", pa.float64()),  # the sum of the purposes above
    ("standard_seconds", pa.float64()),  # images times the bank shape's seconds per image
)


def write_records(tables: Mapping[str, pa.Table], home: Path) -> None:
    """Write both tables of the study in ``home``.

    Raises:
        OSError: one cannot be written.
    """
    for name, file in TABLE_FILES.items():
        table = tables[name]
        # Numbers hardly repeat: a dictionary of them takes most of the time, and of the memory.
        texts = [field.name for field in table.schema if pa.types.is_string(field.type)]
        with atomic_write(home / file) as out:
            pq.write_table(table, out, compression="zstd", use_dictionary=texts)


def load(home: Path) -> dict[str, pa.Table]:
    """The tables "records" and "trials" of the study in ``home``.

    Raises:
        UserError: a table is missing or is no Parquet file.
    """
    tables = {}
    for name, file in TABLE_FILES.items():
        try:
            tables[name] = pq.read_table(home / file)
        except (OSError, pa.ArrowInvalid) as error:
            fault = "is not there" if isinstance(error, FileNotFoundError) else "cannot be read"
            raise UserError(
                f"the study's table of {name} {fault}",
                where=str(home / file),
                remedy="`study report` writes it again from the study's journal",
            ) from error
    return tables


def study_facts(trials: pa.Table) -> dict[str, Any]:
    """What the table's metadata says of its study.

    Keys: name, spec, spec_hash, code_version, roles, finished; reported_at, capped, stopped,
    isolated, features and numerics_keys (see :class:`study.analysis.records.history.History`);
    told (by arm, the source, the number of trials, and what the whole earlier search cost); piloted
    (by arm, source and cost of the pilot that chose its settings); design (of
    :class:`study.journal.events.StudyDescribed`), pair and looks (the fields of the events
    :class:`PairChosen` and :class:`Looked`); in_vain (arm and replicate of the searches that are
    over and chose nothing); search_looks (by arm, those of
    :class:`SearchLooked`); engines (a list of the fields of
    :class:`study.analysis.records.engine_time.EngineTime`).
    """
    facts: dict[str, Any] = json.loads((trials.schema.metadata or {}).get(b"study", b"{}"))
    return facts


def dims(trials: pa.Table) -> float | None:
    """D, the dimensions of an image; None where no trial was measured on test."""
    for s, mse in zip(trials["test_S"].to_pylist(), trials["test_MSE"].to_pylist(), strict=True):
        if s and mse:
            return float(round(s / mse))
    return None


class Role(NamedTuple):
    """Whether an arm is hand-tuned, as the study declares it."""

    hand_tuned: bool
    why: str
    """Which of its settings makes it so; "" of an automatic arm."""
    departs: Sequence[Mapping[str, Any]] = ()
    """Of an automatic arm, the balancer's hyperparameters that are not at their defaults: ``name``,
    ``value`` and, in words, ``default``."""


def recorded_roles(trials: pa.Table) -> Mapping[str, Role]:
    """The role of every arm of the table's study; one not in the journal yet is automatic.

    Raises:
        UserError: an earlier version wrote the table.
    """
    roles = study_facts(trials).get("roles")
    if roles is None:
        raise UserError(
            "the study's tables do not say which arms are hand-tuned",
            where=TABLE_FILES["trials"],
            remedy="`study report` writes them again from the study's journal",
        )
    known = ((arm, Role(**role)) for arm, role in roles.items())
    return defaultdict(lambda: Role(hand_tuned=False, why=""), known)


def tables_of(home: Path) -> dict[str, pa.Table]:
    """:func:`build_tables` of the journal of the study in ``home``."""
    return build_tables(read_entries(home, *SHOWN))


def build_tables(entries: Iterable[Entry]) -> dict[str, pa.Table]:
    """The tables "records" (a row per trial and report) and "trials" (a row per trial).

    Rows are ordered by arm as in the spec, phase (search first), replicate, choice confirmed,
    number, retries after what they retry, and step.
    """
    history = History(entries)
    study = history.study
    arms = list(study.spec.get("arms", {}))
    trials = sorted(history.trials.values(), key=lambda trial: _order(trial, arms))
    facts = {
        **{key: getattr(study, key) for key in ("name", "spec", "spec_hash", "code_version")},
        "roles": study.roles,
        "finished": history.finished,
        "reported_at": history.reported_at,
        "capped": history.capped.to_data() if history.capped else None,
        "stopped": history.stopped,
        "isolated": history.isolated,
        "told": {arm: _told(event) for arm, event in history.told.items()},
        "piloted": {arm: _cost(event) for arm, event in history.piloted.items()},
        "design": study.design,
        "pair": history.pair.to_data() if history.pair else None,
        "looks": [look.to_data() for look in history.looks.values()],
        "in_vain": [list(key) for key, number in history.choices.items() if number is None],
        "search_looks": {
            arm: [look.to_data() for look in looks] for arm, looks in history.search_looks.items()
        },
        "earlier_pairs": [
            {**pair.to_data(), "looks": [look.to_data() for look in looks]}
            for pair, looks in history.earlier
        ],
        "features": history.features,
        "numerics_keys": history.numerics_keys,
        "engines": [asdict(time) for time in history.engine_times],
    }
    metadata = {"study": json.dumps(facts)}
    return {
        "records": _records(study.name, history.reports, trials).replace_schema_metadata(metadata),
        "trials": _trials(study.name, history, trials).replace_schema_metadata(metadata),
    }


def _told(event: TrialsTold) -> dict[str, Any]:
    return {**_cost(event), "trials": len(event.trials)}


def _cost(event: TrialsTold | ArmPiloted) -> dict[str, Any]:
    return {key: getattr(event, key) for key in ("source", "images", "billed", "standard")}


def _order(history: TrialHistory, arms: Sequence[str]) -> tuple[Any, ...]:
    asked = history.trial.asked
    known = arms.index(asked.arm) if asked.arm in arms else len(arms)
    chosen_from = -1 if asked.chosen_from is None else asked.chosen_from
    return (
        known, asked.arm, asked.phase != "search", asked.phase, asked.replicate, chosen_from,
        asked.number, len(asked.trial), asked.trial,
    )  # fmt: skip


def _records(name: str, reports: Reports, trials: Sequence[TrialHistory]) -> pa.Table:
    rank = {trial: i for i, trial in enumerate(trials)}
    ranks = np.fromiter((rank[trial] for trial in reports.trials), np.int64, len(reports))
    order = np.lexsort((np.asarray(reports.step), ranks))
    of_trial = pa.array(ranks[order])
    columns = {key: values.take(of_trial) for key, values in _identity(name, trials).items()}
    columns |= {
        key: pa.array(np.asarray(values)[order])
        for key, values in {
            "step": reports.step,
            "time": reports.time,
            "images": reports.images,
            "training_seconds": reports.training,
            "evaluation_seconds": reports.evaluation,
            "second_stage_seconds": reports.second_stage,
        }.items()
    }
    columns["engine"] = pa.array(reports.engines, pa.string()).take(pa.array(order))
    places = np.argsort(order)
    for metric in reports.metrics:
        columns[_column(metric)] = _numbers(reports.metric(metric, places))
    return _table(_REPORT_FIELDS, _metric_names(REPORT_METRICS, reports.metrics), columns)


def _trials(name: str, history: History, trials: Sequence[TrialHistory]) -> pa.Table:
    of = [trial.trial for trial in trials]
    objective = [t.value for t in of]
    columns: dict[str, Any] = dict(_identity(name, trials))
    columns |= {
        "params": [_json(t.asked.params) for t in of],
        "course": [_json(t.asked.course) if t.asked.course else None for t in of],
        "settings": [_json(t.asked.settings) for t in of],
        "chosen_from": [t.asked.chosen_from for t in of],
        "retry_of": [t.asked.retry_of for t in of],
        "drawn_by": [t.asked.drawn_by or None for t in of],
        "stage": [t.asked.stage or None for t in of],
        "state": [t.state for t in of],
        "reason": [t.reason for t in trials],
        "chosen": [history.chosen(t.name) for t in of],
        "objective": [v if v is not None and isfinite(v) else None for v in objective],
        "steps": [max(0, len(t.images_by) - 1) for t in trials],
        "started": [t.started for t in trials],
        "ended": [t.ended for t in trials],
        "engine": [t.engine for t in of],
        "engine_deaths": [t.deaths for t in trials],
        "shape": [t.shape for t in trials],
        "numerics_key": [_json(t.key) for t in of],
        "artifacts": [_json(t.artifacts) for t in trials],
        "images": [t.images for t in of],
        "redone_images": [t.redone_images for t in trials],
        **{f"{p}_seconds": [t.seconds.get(p, 0.0) for t in trials] for p in PURPOSES},
        "billed_seconds": [fsum(t.seconds.get(p, 0.0) for p in PURPOSES) for t in trials],
        "standard_seconds": [_standard(t, history.rates) for t in trials],
    }
    reports, last = history.reports, np.array([t.last for t in trials], np.int64)
    places = np.arange(len(reports))
    reported = reports.metrics
    names = _metric_names(TRIAL_METRICS, [*reported, *(m for t in trials for m in t.metrics)])
    for metric in names:
        values = np.full(len(trials), np.nan)
        if metric in reported:
            values = np.where(last < 0, np.nan, reports.metric(metric, places)[last])
        for row, t in enumerate(trials):
            if metric in t.metrics:
                values[row] = t.metrics[metric]  # None becomes NaN
        columns[_column(metric)] = _numbers(values)
    return _table(_TRIAL_FIELDS, names, columns)


def _identity(name: str, trials: Sequence[TrialHistory]) -> dict[str, pa.Array]:
    columns = {"study": pa.array([name] * len(trials), pa.string())}
    for key, kind in _IDENTITY[1:]:
        columns[key] = pa.array([getattr(trial.trial.asked, key) for trial in trials], kind)
    return columns


def _standard(history: TrialHistory, rates: Mapping[str, float]) -> float | None:
    images = history.trial.images
    if images == 0:
        return 0.0
    rate = rates.get(history.shape)
    return None if rate is None else images * rate


def _table(
    fields: Sequence[tuple[str, pa.DataType]], metrics: Sequence[str], columns: Mapping[str, Any]
) -> pa.Table:
    schema = pa.schema([*fields, *((_column(metric), pa.float64()) for metric in metrics)])
    length = len(columns["trial"])
    data = [columns.get(f.name, pa.nulls(length, f.type)) for f in schema]
    return pa.table(
        [
            d if isinstance(d, pa.Array) else pa.array(d, f.type)
            for d, f in zip(data, schema, strict=True)
        ],
        schema=schema,
    )


def _metric_names(known: Sequence[str], seen: Iterable[str]) -> list[str]:
    return [*known, *sorted(set(seen) - set(known))]


def _column(metric: str) -> str:
    return metric.replace("/", "_")


def _numbers(values: Any) -> pa.Array:
    """Floats with null for what is absent or not a number."""
    return pa.array(np.asarray(values, np.float64), from_pandas=True)


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
