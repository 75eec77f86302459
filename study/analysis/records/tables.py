"""`records.parquet` and `trials.parquet`: a study's journal as two tables.

Both are a function of the journal alone, to the last byte: no clock, no order of a hash table.
The metadata of both schemas holds, under the key `study`, the rest of what a report needs: the
spec, the engines' times, and whether the study is finished.

What a trial came to is the same whatever was killed on the way, in every column of the trials
whose name says nothing of seconds, redone, lost, started, ended or engine.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from math import fsum, isfinite
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from study.analysis.records.engine_time import PURPOSES
from study.analysis.records.events import Event
from study.analysis.records.history import History, Reports, TrialHistory
from vae_core.errors import UserError

FILES = {"records": "records.parquet", "trials": "trials.parquet"}

_EVALUATED = ("S", "MSE", "R", "calibrated_elbo", "bits_per_dim", "active_units")

#: Metrics every study has a column for, in nats per image where they are losses. Others, a
#: user's own or a later evaluation's, get a column each after these, in alphabetical order.
REPORT_METRICS = (
    "train/S", "train/MSE", "train/R", "train/loss", "sigma", "beta", "k",
    *(f"validation/{name}" for name in _EVALUATED),
)  # fmt: skip
TRIAL_METRICS = (*REPORT_METRICS, *(f"test/{name}" for name in _EVALUATED))

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
    ("settings", pa.string()),  # JSON, keys sorted; resolved, beta = k sigma^2
    ("chosen_from", pa.int64()),  # confirm: number of the search trial it trains again
    ("retry_of", pa.string()),  # the trial it runs again, by hand
    ("state", pa.string()),  # waiting, running, interrupted, complete, pruned, failed
    ("reason", pa.string()),
    ("chosen", pa.bool_()),  # it is, or trains again, what its arm stands by now; no retry of it is
    ("objective", pa.float64()),  # on validation, as Optuna was told
    ("steps", pa.int64()),
    ("started", pa.float64()),
    ("ended", pa.float64()),
    ("engine", pa.string()),  # the last it was on
    ("engine_deaths", pa.int64()),  # how many died with it aboard
    ("shape", pa.string()),
    ("numerics_key", pa.string()),  # JSON, keys sorted
    ("artifacts", pa.string()),  # JSON, keys sorted: name -> path in the study's home
    ("images", pa.int64()),
    ("redone_images", pa.int64()),
    *((f"{purpose}_seconds", pa.float64()) for purpose in PURPOSES),
    ("billed_seconds", pa.float64()),  # the sum of the purposes above
    ("standard_seconds", pa.float64()),  # images times the bank shape's seconds per image
)


def write_records(events: Iterable[Event], home: Path) -> dict[str, pa.Table]:
    """Write both tables of the study in ``home`` and return them.

    Each file appears whole or not at all.
    """
    tables = build_tables(events)
    for name, file in FILES.items():
        partial = home / f".{file}.partial"
        pq.write_table(tables[name], partial, compression="zstd")
        os.replace(partial, home / file)
    return tables


def load(home: Path) -> dict[str, pa.Table]:
    """The tables "records" and "trials" of the study in ``home``.

    Raises:
        UserError: a table is missing or is no Parquet file.
    """
    tables = {}
    for name, file in FILES.items():
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
    """What the table's metadata tells of its study.

    Keys: name, spec, spec_hash, code_version, finished; capped, stopped, isolated, features and
    numerics_keys (see :class:`study.analysis.records.history.History`); engines (a list of the
    fields of :class:`study.analysis.records.engine_time.EngineTime`).
    """
    facts: dict[str, Any] = json.loads((trials.schema.metadata or {}).get(b"study", b"{}"))
    return facts


def build_tables(events: Iterable[Event]) -> dict[str, pa.Table]:
    """The tables "records" (a row per trial and report) and "trials" (a row per trial).

    Rows are ordered by arm as in the spec, phase (search first), replicate, choice confirmed,
    number, retries after what they retry, and step.
    """
    history = History(events)
    name = str(history.study.get("name", ""))
    arms = list(history.study.get("spec", {}).get("arms", {}))
    trials = sorted(history.trials.values(), key=lambda trial: _order(trial, arms))
    facts = {
        **{key: history.study.get(key) for key in ("name", "spec", "spec_hash", "code_version")},
        "finished": history.finished,
        "capped": history.capped,
        "stopped": history.stopped,
        "isolated": history.isolated,
        "features": history.features,
        "numerics_keys": history.numerics_keys,
        "engines": [asdict(time) for time in history.engine_times],
    }
    metadata = {"study": json.dumps(facts)}
    return {
        "records": _records(name, history.reports, trials).replace_schema_metadata(metadata),
        "trials": _trials(name, history, trials).replace_schema_metadata(metadata),
    }


def _order(trial: TrialHistory, arms: Sequence[str]) -> tuple[Any, ...]:
    known = arms.index(trial.arm) if trial.arm in arms else len(arms)
    chosen_from = -1 if trial.chosen_from is None else trial.chosen_from
    return (
        known, trial.arm, trial.phase != "search", trial.phase, trial.replicate, chosen_from,
        trial.number, len(trial.trial), trial.trial,
    )  # fmt: skip


def _records(name: str, reports: Reports, trials: Sequence[TrialHistory]) -> pa.Table:
    rank = {trial.trial: i for i, trial in enumerate(trials)}
    ranks = np.fromiter((rank[t.trial] for t in reports.trials), np.int64, len(reports))
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
    for metric, values in reports.metrics.items():
        columns[_column(metric)] = _numbers(np.asarray(values)[order])
    return _table(_REPORT_FIELDS, _metric_names(REPORT_METRICS, reports.metrics), columns)


def _trials(name: str, history: History, trials: Sequence[TrialHistory]) -> pa.Table:
    columns: dict[str, Any] = dict(_identity(name, trials))
    columns |= {
        "params": [_json(t.params) for t in trials],
        "settings": [_json(t.settings) for t in trials],
        "chosen_from": [t.chosen_from for t in trials],
        "retry_of": [t.retry_of for t in trials],
        "state": [t.state for t in trials],
        "reason": [t.reason for t in trials],
        "chosen": [history.chosen(t) for t in trials],
        "objective": [t.value if t.value is not None and isfinite(t.value) else None
                      for t in trials],
        "steps": [max(t.steps, default=0) for t in trials],
        "started": [t.started for t in trials],
        "ended": [t.ended for t in trials],
        "engine": [t.engine for t in trials],
        "engine_deaths": [t.deaths for t in trials],
        "shape": [t.shape for t in trials],
        "numerics_key": [_json(t.key) for t in trials],
        "artifacts": [_json(t.artifacts) for t in trials],
        "images": [t.images for t in trials],
        "redone_images": [t.redone_images for t in trials],
        **{f"{p}_seconds": [t.seconds.get(p, 0.0) for t in trials] for p in PURPOSES},
        "billed_seconds": [fsum(t.seconds.get(p, 0.0) for p in PURPOSES) for t in trials],
        "standard_seconds": [_standard(t, history.rates) for t in trials],
    }  # fmt: skip
    reported = history.reports.metrics
    names = _metric_names(TRIAL_METRICS, [*reported, *(m for t in trials for m in t.metrics)])
    for metric in names:
        values = reported.get(metric)
        columns[_column(metric)] = _numbers(
            [
                t.metrics[metric]
                if metric in t.metrics
                else (values[t.last] if values is not None and t.last >= 0 else None)
                for t in trials
            ]
        )
    return _table(_TRIAL_FIELDS, names, columns)


def _identity(name: str, trials: Sequence[TrialHistory]) -> dict[str, pa.Array]:
    columns = {"study": pa.array([name] * len(trials), pa.string())}
    for key, kind in _IDENTITY[1:]:
        columns[key] = pa.array([getattr(trial, key) for trial in trials], kind)
    return columns


def _standard(trial: TrialHistory, rates: Mapping[str, float]) -> float | None:
    if trial.images == 0:
        return 0.0
    rate = rates.get(trial.shape)
    return None if rate is None else trial.images * rate


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
