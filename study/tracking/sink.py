"""Changes written to MLflow. Imports MLflow: only the writer's thread imports this module."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping
from itertools import chain, count
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag, ViewType
from mlflow.exceptions import MlflowException

from study.tracking.changes import (
    ANSWERED,
    NOTE,
    PARENT,
    STUDY,
    Change,
    DeletedError,
    Model,
    NotHeldError,
    Pack,
    Point,
    Run,
    parent_key,
)
from study.tracking.dataset import inputs
from study.tracking.experiment import takes_files
from study.tracking.registry import REFUSALS, Registry
from study.tracking.restoring import restore

log = logging.getLogger(__name__)

# MLflow's limits a call: 1000 entities of which 100 params and 100 tags; characters a value.
_METRICS, _PARAMS = 850, 100
_PARAM_LENGTH, _TAG_LENGTH = 6000, 8000
_PAGE = 1000
_MARK = "study.last_event"
_DIVERGED = "study.told_of_lost_events"
_NOTHING = (-1, 0.0)
_ABSENT = "RESOURCE_DOES_NOT_EXIST"
_FORMER = {
    **{f"study.{tag}": tag for tag in ("against", "break_even", "engine_deaths", "reason")},
    **{f"study.{tag}": tag for tag in ("state", "stopped")},
    **dict.fromkeys(("study.arm_kind", "study.balancer", "study.chosen_by_sampler"), "kind"),
}
"""Tags of earlier versions, and those that take their place."""
_MODEL = "study.model"  # the tag of an arm's run that names its registered model and its run


class Sink:
    """One study's runs in one MLflow store.

    Every write may be repeated. A run has a mark, the sequence number and time of the last event
    it holds, which is written last, so that a restarted driver sends only what is missing; if the
    driver died in between, SQL stores keep an equal (key, step, value, timestamp) once. A run
    whose mark matches no event of the journal has diverged: it holds events that the journal has
    lost since, in a damaged tail. It receives all events again, and from then on no step that a
    metric of it already has.

    A deleted run takes no more metrics, params, tags or status, but still files, so it is looked
    at before they are logged. The runs found missing are made anew by opening the sink again, as
    a restarted driver does, and sending it the whole journal.

    Args:
        uri: the store.
        held: whether this driver still holds the study; called right before every write.
        pack: writes an MLflow model of a trial.
    """

    def __init__(self, uri: str, held: Callable[[], bool], pack: Pack) -> None:
        self._client, self._held = MlflowClient(uri), held
        self._registry = Registry(lambda: self._writable, pack)
        self._uri, self._takes_files = uri, True
        self._experiment = ""
        self._created = ""
        self._deleted: set[str] = set()  # keys of deleted runs that are not made anew yet
        self.made_anew = 0  # runs that were deleted
        self._forget()

    def _forget(self) -> None:
        """Know nothing of what MLflow holds."""
        self._runs: dict[str, str] = {}  # run key -> run id
        self._status: dict[str, str] = {}
        self._children: dict[str, dict[str, str]] = {}  # run key -> ids of found runs -> parent id
        self._uncertain = False  # a create_run failed, but the store may have executed it
        self._looked = False  # the study's own run was there in this round
        self._marks: dict[str, tuple[int, float]] = {}
        self._diverged: set[str] = set()
        self._held_steps: dict[str, dict[str, set[int]]] = {}  # of runs whose steps are uncertain
        self._answers: dict[str, set[str]] = {}  # run key -> metrics of earlier answers
        self._params: dict[str, dict[str, str]] = {}  # run key -> those it has
        self._former: dict[str, list[str]] = {}  # run key -> tags of earlier versions it has
        self._models: dict[str, str] = {}  # arm's key -> its tag that names the registered model
        self.written: dict[str, int] = {}
        self.answered: dict[str, str] = {}  # run key -> mark of the end whose answers it holds

    @property
    def _writable(self) -> MlflowClient:
        """The client, to write with.

        Raises:
            NotHeldError: another driver has taken the study over.
        """
        if not self._held():
            raise NotHeldError
        return self._client

    @staticmethod
    def refused(error: Exception) -> bool:
        """Whether the store rejected a request for good, rather than being unavailable."""
        return isinstance(error, MlflowException) and error.error_code in REFUSALS

    @property
    def registered(self) -> set[str]:
        """Keys of the arms' runs whose registered model is of a run that is there."""
        runs = set(self._runs.values())
        return {key for key, tag in self._models.items() if tag.rpartition(" ")[2] in runs}

    def open(self, study: str, question: str, created: str, artifacts: str | None) -> None:
        """Find or create the study's experiment, and find its existing runs.

        ``created`` is the tag that tells this study from another of its name. A new experiment is
        described by ``question`` and stores its artifacts in ``artifacts`` (None: the server
        decides). Opened again, the runs known before that are not there count as deleted.
        """
        self._deleted |= self._runs.keys()
        self._forget()
        self._experiment = self._find_experiment(study, question, artifacts, created)
        self._created = created
        for run in self._search(ViewType.DELETED_ONLY):
            self._deleted.add(run.data.tags["study.run"])
        self._find()
        self._deleted -= self._runs.keys()
        if self._deleted:
            log.warning(
                "deleted in MLflow, made anew from the journal: %d of the runs of '%s' (%s)",
                *(len(self._deleted), study, _some(self._deleted)),
            )
        for key in self._runs:
            self._adopt(key)

    def _find_experiment(
        self, study: str, question: str, artifacts: str | None, created: str
    ) -> str:
        experiment = self._client.get_experiment_by_name(study)
        if experiment is None:
            try:
                tags = {"mlflow.note.content": question}
                return str(self._writable.create_experiment(study, artifacts, tags))
            except MlflowException as error:
                if not self.refused(error):
                    raise
                # Another was faster.
                return self._find_experiment(study, question, artifacts, created)
        found = experiment.artifact_location
        self._takes_files = takes_files(self._uri, study, found, artifacts)
        restore(lambda: self._writable, experiment, created)
        return str(experiment.experiment_id)

    def match_journal(self, times: Mapping[int, float]) -> None:
        """Match the runs' marks with the journal's events, sequence -> time."""
        for key, (sequence, time) in self._marks.items():
            if times.get(sequence) == time:
                self.written[key] = sequence
                if key not in self._diverged:
                    self._held_steps.pop(key, None)
            elif sequence >= 0:
                self._diverged.add(key)

    def write(
        self, change: Change, describe: Callable[[str], Run], data: Mapping[str, Any]
    ) -> None:
        """Write all of ``change`` to its run; ``data`` describes the study's dataset.

        May raise anything MLflow raises; ``change`` then holds what is left to write, perhaps
        with some that arrived.

        Raises:
            DeletedError: the run was deleted, or another that is needed with it.
        """
        try:
            if not self._looked and STUDY in self._runs:
                self._require(self._runs[STUDY])  # nothing else may be written to it for hours
                self._looked = True
            self._write(change, describe, data)
        except MlflowException as error:
            if self.refused(error) and not self._stands(change.key):
                raise DeletedError from error
            raise

    def begin_round(self) -> None:
        """Look at the study's own run before the next write."""
        self._looked = False

    def _write(
        self, change: Change, describe: Callable[[str], Run], data: Mapping[str, Any]
    ) -> None:
        key = change.key
        if not self._takes_files:
            change.files, change.texts, change.model = {}, {}, None
        run = self._run(key, describe)
        self._adopt(key)
        if key in self._held_steps:
            self._drop_held_steps(change, run)
        if change.inputs:
            self._writable.log_inputs(run, datasets=inputs(data))
        self._tag_experiment(change.experiment)
        if change.files or change.texts:
            self._require(run)
        for folder, paths in change.files.items():
            for path in paths:
                if path.is_file():
                    self._writable.log_artifact(run, str(path), folder or None)
                else:
                    log.warning("not in MLflow, because the file is missing: %s", path)
        for name, text in change.texts.items():
            self._writable.log_text(run, text, name)
        if change.model is not None:
            self._register(change.model, key, describe)
        new = self._new_params(key, change.params)
        params = [Param(name, text) for name, text in new.items()]
        while len(params) > _PARAMS:
            self._writable.log_batch(run, params=params[:_PARAMS], synchronous=True)
            del params[:_PARAMS]
        while len(change.points) > _METRICS:
            self._writable.log_batch(run, metrics=_metrics(change), synchronous=True)
            del change.points[:_METRICS]
        self._set_status(key, run, change)
        self._clear_outdated(change)
        for name in [name for name in self._former.get(key, ()) if _FORMER[name] in change.tags]:
            self._writable.delete_tag(run, name)
            self._former[key].remove(name)
        # Last and in one call: the mark that all of this has arrived. Answers have a mark of their
        # own, so none of their steps can be that of an event lost since.
        tags = dict(change.tags)
        if key in self._models:
            tags[_MODEL] = self._models[key]
        if key in self._diverged:
            tags[_DIVERGED] = "true"
        if change.sequence >= 0:
            tags[_MARK] = f"{change.sequence} {change.time!r}"
        self._writable.log_batch(
            run,
            metrics=[*_metrics(change), *(Metric(*point) for point in change.answers)],
            params=params,
            tags=[RunTag(name, value[:_TAG_LENGTH]) for name, value in tags.items()],
            synchronous=True,
        )
        self._params[key] |= new
        self.answered[key] = tags.get(ANSWERED, self.answered.get(key, ""))
        self.written[key] = max(change.sequence, self.written.get(key, -1))
        self._marks[key] = max((change.sequence, change.time), self._marks.get(key, _NOTHING))

    def _tag_experiment(self, tags: Mapping[str, str]) -> None:
        """Write views and the description; what the store refuses, or people changed, stays out."""
        for name, value in tags.items():
            if name == NOTE and not self._is_ours(value):
                continue
            try:
                self._writable.set_experiment_tag(self._experiment, name, value)
            except MlflowException as error:
                if not self.refused(error):
                    raise
                log.info("MLflow does not take the experiment's tag '%s': %s", name, error)

    def _is_ours(self, note: str) -> bool:
        """Whether the experiment's description ends as ``note`` does, or is empty."""
        written = self._client.get_experiment(self._experiment).tags.get(NOTE, "")
        return not written or written.rpartition("\n\n")[2] == note.rpartition("\n\n")[2]

    def _drop_held_steps(self, change: Change, run: str) -> None:
        """Drop the steps of ``change`` that ``run`` holds already, perhaps of a lost event."""
        held = self._held_steps[change.key]
        for name in {point.name for point in change.points} - held.keys():
            history = self._client.get_metric_history(run, name)
            held[name] = {metric.step for metric in history}
        change.points = [point for point in change.points if point.step not in held[point.name]]

    def _new_params(self, key: str, params: Mapping[str, str]) -> dict[str, str]:
        """What the run lacks. MLflow changes no param: another value gets the next number."""
        held = self._params.setdefault(key, {})
        new = {}
        for name, value in params.items():
            text = value[:_PARAM_LENGTH]
            names = chain([name], (f"{name}.{number}" for number in count(2)))
            free = next(each for each in names if held.get(each, text) == text)
            if free not in held:
                new[free] = text
        return new

    def _clear_outdated(self, change: Change) -> None:
        """Set earlier answers to NaN that the newer answers in ``change`` no longer include."""
        if change.answers:
            first, current = change.answers[0], {point.name for point in change.answers}
            for name in sorted(self._answers.get(change.key, set()) - current):
                change.answers.append(Point(name, math.nan, first.time, first.step))

    def find_deleted(self) -> bool:
        """Whether runs of the study are not there any more.

        Also deletes runs that exist twice because the response to their creation was lost. Perhaps
        to an earlier driver: a server that hung may have created a run after it ended.
        """
        if not self._experiment:
            return False
        found = self._find()
        self._uncertain = False
        return any(key not in found and not self._stands(key) for key in list(self._runs))

    def _stands(self, key: str) -> bool:
        """Whether the run of ``key``, or the experiment where it has none yet, is there."""
        try:
            if key in self._runs:
                self._require(self._runs[key])
                return True
            experiment = self._client.get_experiment(self._experiment)
            return bool(experiment.lifecycle_stage == "active")
        except DeletedError:
            return False
        except MlflowException as error:
            if error.error_code != _ABSENT:
                raise
            return False

    def _require(self, run: str) -> Any:
        """The run with id ``run``.

        Raises:
            DeletedError: it was deleted, perhaps for good.
        """
        try:
            found = self._client.get_run(run)
        except MlflowException as error:
            if error.error_code != _ABSENT:
                raise
            raise DeletedError from error
        if found.info.lifecycle_stage != "active":
            raise DeletedError
        return found

    def _adopt(self, key: str) -> None:
        """Put the runs that belong under the run of ``key`` under it: it may be a new one."""
        run, children = self._runs[key], self._children.get(key, {})
        for child in [child for child, parent in children.items() if parent != run]:
            self._writable.set_tag(child, PARENT, run)
            children[child] = run

    def _run(self, key: str, describe: Callable[[str], Run]) -> str:
        if key not in self._runs and self._uncertain:
            self._find()
        if key in self._runs:
            return self._runs[key]
        run = describe(key)
        tags = {name: value[:_TAG_LENGTH] for name, value in run.tags.items()}
        if run.parent is not None:
            tags[PARENT] = self._run(run.parent, describe)
        try:
            made = self._writable.create_run(self._experiment, run.started, tags, run.name)
        except NotHeldError:
            raise
        except Exception:
            self._uncertain = True
            raise
        self._runs[key], self._status[key] = made.info.run_id, "RUNNING"
        if key in self._deleted:
            self._deleted.remove(key)
            self.made_anew += 1
        return self._runs[key]

    def _find(self) -> set[str]:
        """Find the study's runs; return their keys."""
        return {self._add_found(run) for run in self._search(ViewType.ACTIVE_ONLY)}

    def _search(self, which: int) -> Iterator[Any]:
        query, page = f"tags.`study.created` = '{self._created}'", None
        while True:
            runs = self._client.search_runs(
                [self._experiment], query, which, max_results=_PAGE, page_token=page
            )
            yield from runs
            page = runs.token
            if not page:
                return

    def _add_found(self, run: Any) -> str:
        key, run_id = run.data.tags["study.run"], run.info.run_id
        sequence, _, time = run.data.tags.get(_MARK, "").partition(" ")
        mark = (int(sequence), float(time)) if sequence else _NOTHING
        known = self._runs.setdefault(key, run_id)
        if known != run_id:
            empty = run_id
            if mark > self._marks.get(key, _NOTHING):
                empty, self._runs[key] = known, run_id
            self._writable.delete_run(empty)
            if empty == run_id:
                return str(key)
        if key not in self._status or known != run_id:
            self._held_steps[key] = {}
        if _DIVERGED in run.data.tags:
            self._diverged.add(key)
        if _MODEL in run.data.tags:
            self._models[key] = run.data.tags[_MODEL]
        if (parent := parent_key(run.data.tags)) is not None:
            self._children.setdefault(parent, {})[run_id] = run.data.tags.get(PARENT, "")
        self._params[key] = dict(run.data.params)
        self._former[key] = [name for name in run.data.tags if name in _FORMER]
        self._status[key] = run.info.status
        self.answered[key] = run.data.tags.get(ANSWERED, "")
        self._answers[key] = {name for name in run.data.metrics if name.startswith("answer/")}
        self._marks[key] = max(mark, self._marks.get(key, _NOTHING))
        return str(key)

    def _set_status(self, key: str, run: str, change: Change) -> None:
        if change.status is None or (
            change.status == "RUNNING" and self._status[key] == change.status
        ):
            return
        if change.status == "RUNNING":
            self._writable.update_run(run, change.status)
        else:
            self._writable.set_terminated(run, change.status, change.ended)
        self._status[key] = change.status

    def _register(self, model: Model, key: str, describe: Callable[[str], Run]) -> None:
        """Register the model of the arm whose run's key is ``key``."""
        run = self._require(self._run(model.run, describe))
        if self._registry.register(model, run, self._created):
            self._models[key] = f"{model.name} {run.info.run_id}"


def _some(keys: set[str]) -> str:
    first = sorted(keys, key=lambda key: (key.count("/"), key))[:3]
    return ", ".join(first) + (", ..." if len(keys) > len(first) else "")


def _metrics(change: Change) -> list[Metric]:
    return [Metric(*point) for point in change.points[:_METRICS]]
