"""From journal events to changes of MLflow runs: study -> arm -> trial."""

from __future__ import annotations

import json
import math
from collections.abc import Container, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from study.journal.events import (
    ArmPiloted,
    CapReached,
    ConfigurationChosen,
    EngineChanged,
    EngineDied,
    Entry,
    Event,
    LaunchBegan,
    Reported,
    Stopped,
    StudyDescribed,
    StudyFinished,
    StudyInterrupted,
    TrialAsked,
    TrialEnded,
    TrialPlaced,
    TrialsTold,
    TrialSuspended,
)
from study.journal.trial import Trial
from study.tracking.changes import (
    ANSWERED,
    ARM_RESULTS,
    NOT_YET,
    NOTE,
    PRUNED_AT,
    STUDY,
    STUDY_RESULTS,
    Change,
    Model,
    Run,
    arm_key,
    created_tag,
    milliseconds,
    model_name,
    points,
    trial_key,
)
from study.tracking.guide import literal, study_note
from study.tracking.trials import (
    TrackedTrial,
    arm_kind,
    arm_name,
    arm_params,
    best_confirmed,
    search_history,
    trial_params,
)
from study.tracking.views import TAG, views

if TYPE_CHECKING:
    from study.analysis.answers.by_arm import RunAnswer

_STATUS = {"complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}
HISTORY = "search_history.csv"


class Findings(NamedTuple):
    """A study's results: files by their paths in its run, its own answer, and those of its arms."""

    files: Mapping[str, Path]
    study: RunAnswer
    arms: Mapping[str, RunAnswer]


class Projection:
    """Follows the journal and gathers, in ``pending``, what each run has not received yet.

    After a restart the whole journal may be sent again: an event that MLflow holds according to
    ``written`` (run key -> last event written) leaves no change.
    """

    def __init__(self, home: Path) -> None:
        self.home = home.resolve()
        self.study: StudyDescribed | None = None
        self.created = 0.0
        self.written: dict[str, int] = {}
        self.registered: Container[str] = ()  # keys of arms whose model is in the registry
        self.answered: Mapping[str, str] = {}  # run key -> mark of the end whose answers it holds
        self.pending: dict[str, Change] = {}
        self._trials: dict[str, TrackedTrial] = {}
        self._arms: dict[str, float] = {}  # name -> time of its first trial
        self._versions: dict[str, dict[str, str]] = {}  # run key -> tags of the spec it began with
        self._choices: dict[tuple[str, int], int | None] = {}  # by arm and replicate
        self._told: dict[str, str] = {}  # arm -> the earlier search its searches began with
        self._piloted: dict[str, str] = {}  # arm -> the pilot that chose its settings
        self._reasoned: set[str] = set()  # keys of runs that hold a reason for their end
        self._ends: list[Entry] = []  # of the study: one for each time that it ended

    @property
    def described(self) -> StudyDescribed:
        """The study, once its first event has been added."""
        assert self.study is not None
        return self.study

    def add(self, entry: Entry) -> None:
        """Take in one event; kinds that MLflow does not show change nothing."""
        match entry.event:
            case StudyDescribed() as event:
                self._on_study(entry, event)
            case LaunchBegan() as event:
                self._apply_to_all(event)
                for key in (STUDY, *map(arm_key, self._arms)):
                    self._reopen(self._change(key, entry))
                self._show(self._change(STUDY, entry))
            case EngineChanged() as event:
                self._on_engine(entry, event)
            case TrialAsked() as event:
                # The run is created at the first start: a batch is asked for long before that.
                self._trials[event.trial] = TrackedTrial(Trial(event))
            case TrialsTold() as event:
                self._told[event.arm] = event.source
            case ArmPiloted() as event:
                self._piloted[event.arm] = event.source
            case TrialPlaced() as event:
                self._on_placed(entry, event)
            case Reported() as event:
                self._on_report(entry, event)
            case TrialEnded() as event:
                self._on_end(entry, event)
            case TrialSuspended() as event:
                self._trials[event.trial].device_seconds += math.fsum(event.seconds.values())
            case EngineDied() as event:
                self._on_death(entry, event)
            case Stopped(arm=str(arm)) if arm in self._arms:
                # A stopped trial's own end shows it; an arm that never began has no run.
                self._change(arm_key(arm), entry).tags["stopped"] = "by hand"
            case ConfigurationChosen() as event:
                self._on_choice(entry, event)
            case StudyFinished():
                self._conclude(entry, "complete")
            case CapReached() as event:
                self._on_cap(entry, event)
            case StudyInterrupted() as event:
                self._on_interrupted(entry, event)
            case _:
                pass

    def _apply_to_all(self, event: Event) -> None:
        for run in self._trials.values():
            run.trial.apply(event)

    def attach(self, findings: Findings) -> None:
        """Take in the study's results, which are in no event."""
        change = self._aside(STUDY)
        for name, path in findings.files.items():
            folder = name.rpartition("/")[0]
            change.files.setdefault(folder, []).append(path)
        self._answer(change, findings.study)
        self._show(change)
        change.tags[NOTE] = study_note(question(self.described), findings.study.text)
        if said := findings.study.tags.get("answer"):
            about = literal(question(self.described)) or self.described.name
            change.experiment[NOTE] = f"{said}\n\n{about}"
        for arm, answer in findings.arms.items():
            if arm in self._arms:  # else it never began, and has no run
                self._answer(self._aside(arm_key(arm)), answer)

    def _answer(self, change: Change, answer: RunAnswer) -> None:
        change.tags |= answer.tags
        change.params |= answer.params
        change.tags[NOTE] = answer.text
        if not self._ends:
            return
        end, step = self._ends[-1], len(self._ends) - 1
        # A report rewritten after the same end adds no value: each end of the study has one.
        mark = f"{end.sequence} {end.time!r}"
        if self.answered.get(change.key) != mark:
            change.answers = points(answer.metrics, end.time, step)
            change.tags[ANSWERED] = mark

    def _aside(self, key: str) -> Change:
        """The change of a run that receives something that is in no event."""
        change = self.pending.setdefault(key, Change(key))
        change.items.add(-1)
        return change

    def describe(self, key: str) -> Run:
        """What the run of ``key`` is created with.

        MLflow's page of a run shows tags in the order in which they were first written, other pages
        by name: what people read comes before what only this platform reads, ``study.*``.
        """
        study = self.described
        plumbing = {
            "study.run": key,
            "study.name": study.name,
            "study.created": created_tag(self.created),
            **self._versions[key],
        }
        if key == STUDY:
            tags = {"state": "running", **dict.fromkeys(STUDY_RESULTS, NOT_YET)}
            tags |= plumbing | {"study.kind": "study"}
            return Run(study.name, None, tags, milliseconds(self.created))
        kind, _, name = key.partition("/")
        plumbing["study.kind"] = kind
        if kind == "arm":
            hand_tuned = study.roles[name]["hand_tuned"]
            tags = {"kind": arm_kind(hand_tuned), **dict.fromkeys(ARM_RESULTS, NOT_YET)}
            if name in self._told:
                tags["earlier_search"] = self._told[name]
            if name in self._piloted:
                tags["pilot"] = self._piloted[name]
            tags |= {"state": "running", **plumbing, "study.arm": name}
            started = self._arms[name]
            return Run(arm_name(name, hand_tuned=hand_tuned), STUDY, tags, milliseconds(started))
        run = self._trials[name]
        tags = run.tags | {"state": "running"} | plumbing
        for field_name in ("trial", "arm", "phase"):
            tags[f"study.{field_name}"] = str(getattr(run.trial.asked, field_name))
        if run.trial.key:
            tags["study.numerics"] = _numerics(run.trial)
        started = self.created if run.started is None else run.started
        return Run(run.name, arm_key(run.trial.asked.arm), tags, milliseconds(started))

    def _change(self, key: str, entry: Entry) -> Change:
        if entry.sequence <= self.written.get(key, -1):
            return Change(key)  # MLflow holds the event: this change is discarded
        change = self.pending.setdefault(key, Change(key))
        change.sequence, change.time = entry.sequence, entry.time
        change.items.add(entry.sequence)
        return change

    def _on_study(self, entry: Entry, event: StudyDescribed) -> None:
        self.study = event
        self.created = self.created or entry.time  # a later one describes an extended study
        for arm in self._arms:
            self._change(arm_key(arm), entry).params = arm_params(event, arm)
        change = self._change(STUDY, entry)
        self._versions[STUDY] = _version(event)
        change.tags |= _version(event)
        self._reopen(change)
        change.inputs = True
        self._show(change)
        change.tags[NOTE] = study_note(question(event))
        if (spec := self.home / "spec.yaml").is_file():
            change.files.setdefault("", []).append(spec)

    def _show(self, change: Change) -> None:
        """Write the study's views, at every launch and report: earlier versions wrote none."""
        change.experiment |= {TAG + v.key: v.value for v in views(self.described, self.created)}

    def _on_engine(self, entry: Entry, event: EngineChanged) -> None:
        # Distances measured with different networks cannot be compared.
        for name, description in event.features.items():
            text = json.dumps(description, sort_keys=True)
            self._change(STUDY, entry).tags[f"features.{name}"] = text

    def _on_placed(self, entry: Entry, event: TrialPlaced) -> None:
        run = self._trials[event.trial]
        if run.trial.ended:  # an engine prepared a slot for it, and it ended before
            return
        run.trial.apply(event)
        change = self._begin(run, entry)
        self._reopen(change)
        change.tags["study.numerics"] = _numerics(run.trial)

    def _begin(self, run: TrackedTrial, entry: Entry) -> Change:
        """The trial's change; its first one also holds what the run needs only once."""
        asked = run.trial.asked
        if asked.arm not in self._arms:
            self._arms[asked.arm] = entry.time
            self._change(arm_key(asked.arm), entry).params = arm_params(self.described, asked.arm)
        change = self._change(trial_key(asked.trial), entry)
        for key in (arm_key(asked.arm), change.key):
            self._versions.setdefault(key, _version(self.described))
        if run.started is None:
            run.started = entry.time
            change.inputs = True
            change.params = trial_params(self.described, asked)
            run.tag_deaths(change)
        return change

    def _on_report(self, entry: Entry, event: Reported) -> None:
        run = self._trials[event.trial]
        if not event.redone and event.step <= run.trial.step:
            return
        run.device_seconds += math.fsum(event.seconds.values())
        if event.redone:  # the step is there already, but its time was spent twice
            return
        run.trial.apply(event)
        run.last = event.metrics.get(f"validation/{self.described.spec['objective']}")
        change = self._begin(run, entry)
        costs = {"images": float(event.images), "device_seconds": run.device_seconds}
        change.points += points({**event.metrics, **costs}, entry.time, event.step)

    def _on_end(self, entry: Entry, event: TrialEnded) -> None:
        run = self._trials[event.trial]
        run.trial.apply(event)
        change = self._begin(run, entry)
        confirm = run.trial.asked.phase == "confirm"
        # Test metrics in search runs would invite choosing by them.
        metrics = {
            name: value
            for name, value in event.metrics.items()
            if confirm or not name.startswith("test/")
        }
        metrics["objective"] = run.objective
        if event.state == "pruned":
            metrics[PRUNED_AT] = run.last
        change.points += points(metrics, entry.time, event.step)
        if confirm:
            self._add_artifacts(run, event, change)
        if event.traceback:
            change.texts["traceback.txt"] = event.traceback
        self._end(change, entry, _STATUS[event.state], event.state, event.reason)

    def _on_death(self, entry: Entry, event: EngineDied) -> None:
        run = self._trials[event.trial]
        run.trial.apply(event)
        run.engine_deaths += 1
        if run.started is not None:  # else the run is created with the tag
            run.tag_deaths(self._change(trial_key(event.trial), entry))

    def _of(self, arm: str) -> list[TrackedTrial]:
        return [run for run in self._trials.values() if run.trial.asked.arm == arm]

    def _add_artifacts(self, run: TrackedTrial, event: TrialEnded, change: Change) -> None:
        for name, relative in event.artifacts.items():
            path = (self.home / relative).resolve()
            # The journal may be somebody else's: it must not make this send other local files.
            if path.is_relative_to(self.home):
                run.artifacts[name] = path
                change.files.setdefault(name, []).append(path)

    def _on_choice(self, entry: Entry, event: ConfigurationChosen) -> None:
        change = self._change(arm_key(event.arm), entry)
        self._choices[event.arm, event.replicate] = event.number
        if event.number is not None:  # None: no trial of the search is complete
            change.tags[f"study.chosen.r{event.replicate}"] = f"#{event.number}"
        change.texts[HISTORY] = search_history(self._of(event.arm))

    def _on_cap(self, entry: Entry, event: CapReached) -> None:
        for key in self._running():
            self._end(self._change(key, entry), entry, "KILLED", "interrupted")
        self._apply_to_all(event)
        spent, limit = (f"{round(amount, 4):,.12g}" for amount in (event.spent, event.limit))
        self._conclude(entry, "capped", f"{event.cap}: {spent} of {limit}")

    def _conclude(self, entry: Entry, state: str, reason: str = "") -> None:
        self._ends.append(entry)
        for arm in self._arms:
            key, model = arm_key(arm), self._best(arm)
            if model is not None and key not in self.registered:
                self.written.pop(key, None)  # this end and every later one, so the newest decides
            change = self._change(key, entry)
            change.model = model
            self._end(change, entry, "FINISHED", state)
        self._end(self._change(STUDY, entry), entry, "FINISHED", state, reason)

    def _on_interrupted(self, entry: Entry, event: StudyInterrupted) -> None:
        self._apply_to_all(event)
        failed = ("FAILED", "failed", event.error)
        how = failed if event.error else ("KILLED", "interrupted", "")
        for key in (*self._running(), *map(arm_key, self._arms), STUDY):
            self._end(self._change(key, entry), entry, *how)

    def _end(self, change: Change, entry: Entry, status: str, state: str, reason: str = "") -> None:
        change.end(status, state, milliseconds(entry.time), reason)
        if reason:
            self._reasoned.add(change.key)

    def _reopen(self, change: Change) -> None:
        change.reopen(reason=change.key in self._reasoned)
        self._reasoned.discard(change.key)

    def _running(self) -> list[str]:
        """Keys of the trials' runs that are open."""
        return [
            trial_key(name)
            for name, run in self._trials.items()
            if run.started is not None and not run.trial.ended
        ]

    def _best(self, arm: str) -> Model | None:
        run = best_confirmed(self._of(arm), self._choices)
        if run is None:
            return None
        study, trial = self.described, run.trial.name
        about = (
            f"{run.name}: of the arm's confirm runs the one of lowest "
            f"{study.spec.get('objective', 'objective')} on validation, {run.objective:.6g}"
        )
        name, former = model_name(study.name, arm), f"{study.name}-{arm}"
        return Model(name, former, trial_key(trial), trial, about)


def question(study: StudyDescribed) -> str:
    """The question of a study, from its spec."""
    return str(study.spec.get("question", ""))


def _version(study: StudyDescribed) -> dict[str, str]:
    return {"study.spec_hash": study.spec_hash, "study.code_version": study.code_version}


def _numerics(trial: Trial) -> str:
    return json.dumps(trial.key, sort_keys=True)
