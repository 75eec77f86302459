"""From journal events to changes of MLflow runs: study -> arm -> trial."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from study.tracking.changes import (
    ANSWERED,
    NOTE,
    STUDY,
    Change,
    Event,
    Model,
    Run,
    arm_key,
    flatten,
    milliseconds,
    points,
    trial_key,
)
from study.tracking.guide import study_note
from study.tracking.trials import (
    SoFar,
    Trial,
    arm_name,
    best_confirmed,
    confirm_mean,
    search_history,
)

if TYPE_CHECKING:
    from study.analysis.answers.by_arm import ArmAnswer

_STATUS = {"complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}
HISTORY = "search_history.csv"


class Findings(NamedTuple):
    """What a study came to: its run's files, by their paths there, and text; its arms' answers."""

    files: Mapping[str, Path]
    text: str
    answers: Mapping[str, ArmAnswer]


class Tree:
    """Follows the journal and gathers, in ``pending``, what each run is still to be told.

    The whole journal may be sent again after a restart: what ``written`` (run key -> last event
    that reached MLflow) says is there already leaves no change.
    """

    def __init__(self, home: Path) -> None:
        self.home = home.resolve()
        self.study: Mapping[str, Any] = {}
        self.created = 0.0
        self.written: Mapping[str, int] = {}
        self.answered: Mapping[str, str] = {}  # run key -> mark of the conclusion it holds
        self.pending: dict[str, Change] = {}
        self._trials: dict[str, Trial] = {}
        self._arms: dict[str, float] = {}  # name -> time of its first trial
        self._searches: dict[tuple[str, int], SoFar] = {}  # by arm and replicate
        self._choices: dict[tuple[str, int], int] = {}
        self._reasoned: set[str] = set()  # keys of runs that say why they ended
        self._concluded: list[Event] = []  # what ended the study, each time it was gone on with
        self._handlers: dict[str, Callable[[Event], None]] = {
            "study": self._on_study,
            "launch": self._on_launch,
            "engine": self._on_engine,
            "trial": self._on_trial,
            "start": self._on_start,
            "report": self._on_report,
            "end": self._on_end,
            "suspend": self._on_suspend,
            "death": self._on_death,
            "stop": self._on_stop,
            "choice": self._on_choice,
            "finish": self._on_finish,
            "cap": self._on_cap,
            "interrupted": self._on_interrupted,
        }

    @property
    def question(self) -> str:
        """What the study asks, in its spec's words."""
        return str(self.study["spec"].get("question", ""))

    def add(self, event: Event) -> None:
        """Take in one event; kinds that MLflow does not show leave nothing."""
        if handler := self._handlers.get(event.kind):
            handler(event)

    def attach(self, findings: Findings) -> None:
        """Take in what stands in no event: what the study came to."""
        change = self._aside(STUDY)
        for name, path in findings.files.items():
            folder = name.rpartition("/")[0]
            change.files.setdefault(folder, []).append(path)
        change.tags[NOTE] = study_note(self.question, findings.text)
        for arm, answer in findings.answers.items():
            if arm in self._arms:  # else it never began, and has no run
                self._answer(self._aside(arm_key(arm)), answer)

    def _answer(self, change: Change, answer: ArmAnswer) -> None:
        change.tags |= answer.tags
        change.tags[NOTE] = answer.text
        if not self._concluded:
            return
        event, step = self._concluded[-1], len(self._concluded) - 1
        # A report made anew of the same end says nothing new: one value for every conclusion.
        mark = f"{event.sequence} {event.time!r}"
        if self.answered.get(change.key) != mark:
            change.answers = points(answer.metrics, event.time, step)
            change.tags[ANSWERED] = mark

    def _aside(self, key: str) -> Change:
        """The change of a run that is told something that is in no event."""
        change = self.pending.setdefault(key, Change(key))
        change.items.add(-1)
        return change

    def describe(self, key: str) -> Run:
        """What the run of ``key`` is made with."""
        tags = {
            "study.run": key,
            "study.name": str(self.study["name"]),
            "study.created": created_tag(self.created),
            "study.spec_hash": str(self.study["spec_hash"]),
            "study.code_version": str(self.study["code_version"]),
        }
        if key == STUDY:
            tags["study.kind"] = "study"
            return Run(self.study["name"], None, tags, milliseconds(self.created))
        kind, _, name = key.partition("/")
        tags["study.kind"] = kind
        if kind == "arm":
            tags["study.arm"] = name
            run_name = arm_name(name, self.study["spec"]["arms"][name])
            return Run(run_name, STUDY, tags, milliseconds(self._arms[name]))
        trial = self._trials[name]
        for field_name in ("trial", "arm", "phase", "replicate", "number", "seed"):
            tags[f"study.{field_name}"] = str(trial.data[field_name])
        for field_name in ("chosen_from", "retry_of"):
            if trial.data[field_name] is not None:
                tags[f"study.{field_name}"] = str(trial.data[field_name])
        if trial.numerics:
            tags["study.numerics"] = trial.numerics
        parent = arm_key(trial.data["arm"])
        return Run(trial.name, parent, tags, milliseconds(trial.started or self.created))

    def _change(self, key: str, event: Event) -> Change:
        if event.sequence <= self.written.get(key, -1):
            return Change(key)  # MLflow has it: a change that nobody will read
        change = self.pending.setdefault(key, Change(key))
        change.sequence, change.time = event.sequence, event.time
        change.items.add(event.sequence)
        return change

    def _on_study(self, event: Event) -> None:
        self.study = event.data
        self.created = self.created or event.time  # a later one says how the study was extended
        change = self._change(STUDY, event)
        change.tags["study.spec_hash"] = str(event.data["spec_hash"])
        change.tags["study.code_version"] = str(event.data["code_version"])
        self._reopen(change)
        change.inputs = True
        change.tags[NOTE] = study_note(self.question)
        if (spec := self.home / "spec.yaml").is_file():
            change.files.setdefault("", []).append(spec)

    def _on_launch(self, event: Event) -> None:
        for key in (STUDY, *map(arm_key, self._arms)):
            self._reopen(self._change(key, event))

    def _on_engine(self, event: Event) -> None:
        # What distances are measured with: a number of another network is another number.
        for name, description in event.data.get("features", {}).items():
            text = json.dumps(description, sort_keys=True)
            self._change(STUDY, event).tags[f"study.features.{name}"] = text

    def _on_trial(self, event: Event) -> None:
        # The run itself waits for `start`: a batch is asked for long before its last trial begins.
        self._trials[event.data["trial"]] = Trial(event.data)

    def _on_start(self, event: Event) -> None:
        trial = self._trials[event.data["trial"]]
        if trial.end is not None:  # it ended while an engine still made ready for it
            return
        change = self._begin(trial, event)
        trial.numerics = json.dumps(event.data["key"], sort_keys=True)
        self._reopen(change)
        change.tags["study.numerics"] = trial.numerics

    def _begin(self, trial: Trial, event: Event) -> Change:
        """The trial's change, with what is said once when the trial is first seen running."""
        self._arms.setdefault(trial.data["arm"], event.time)
        change = self._change(trial_key(trial.data["trial"]), event)
        if trial.started is None:
            trial.started = event.time
            change.inputs = True
            change.params = flatten(trial.data["settings"]) | flatten(trial.data["params"])
            trial.tag_deaths(change)
        return change

    def _on_report(self, event: Event) -> None:
        data = event.data
        trial = self._trials[data["trial"]]
        if data.get("redone"):  # no step comes twice, but it is paid for twice
            trial.device_seconds += math.fsum(data["seconds"].values())
            return
        if data["step"] <= trial.step:
            return
        change = self._begin(trial, event)
        trial.step, trial.images = data["step"], data["images"]
        trial.device_seconds += math.fsum(data["seconds"].values())
        costs = {"images": float(trial.images), "device_seconds": trial.device_seconds}
        change.points += points({**data["metrics"], **costs}, event.time, trial.step)

    def _on_end(self, event: Event) -> None:
        data = event.data
        trial = self._trials[data["trial"]]
        change = self._begin(trial, event)
        trial.end = data
        confirm = trial.data["phase"] == "confirm"
        # Test numbers in search runs would invite choosing by them.
        metrics = {
            name: value
            for name, value in (data.get("metrics") or {}).items()
            if confirm or not name.startswith("test/")
        }
        metrics["objective"] = data.get("value")
        change.points += points(metrics, event.time, data["step"])
        if confirm:
            self._add_artifacts(trial, change)
        if data.get("traceback"):
            change.texts["traceback.txt"] = data["traceback"]
        self._end(change, event, _STATUS[data["state"]], data["state"], data.get("reason", ""))
        self._sum_up(trial, event)

    def _on_suspend(self, event: Event) -> None:
        trial = self._trials[event.data["trial"]]
        trial.device_seconds += math.fsum(event.data["seconds"].values())

    def _on_death(self, event: Event) -> None:
        trial = self._trials[event.data["trial"]]
        trial.deaths += 1
        if trial.started is not None:  # else the run, once there is one, begins with it
            trial.tag_deaths(self._change(trial_key(trial.data["trial"]), event))

    def _on_stop(self, event: Event) -> None:
        # A trial's own end says it; an arm that never began has no run.
        if (arm := event.data.get("arm")) in self._arms:
            self._change(arm_key(arm), event).tags["study.stopped"] = "by hand"

    def _sum_up(self, trial: Trial, event: Event) -> None:
        """What the trial's end means for its arm: the arms can be compared while they run."""
        arm, replicate = trial.data["arm"], trial.data["replicate"]
        if trial.data["phase"] == "search":
            name = f"search/best_r{replicate}"
            so_far = self._searches.setdefault((arm, replicate), SoFar())
            so_far.add(trial)
            ended, value = so_far.ended, so_far.best
        else:
            name = "confirm/mean"
            ended, value = confirm_mean(self._of(arm), self._chosen(arm))
        self._change(arm_key(arm), event).points += points({name: value}, event.time, ended)

    def _of(self, arm: str) -> list[Trial]:
        return [trial for trial in self._trials.values() if trial.data["arm"] == arm]

    def _chosen(self, arm: str) -> dict[int, int]:
        return {replicate: n for (name, replicate), n in self._choices.items() if name == arm}

    def _add_artifacts(self, trial: Trial, change: Change) -> None:
        assert trial.end is not None
        for name, relative in (trial.end.get("artifacts") or {}).items():
            path = (self.home / relative).resolve()
            # A journal may come from elsewhere: it must not send other files of this machine.
            if path.is_relative_to(self.home):
                trial.artifacts[name] = path
                change.files.setdefault(name, []).append(path)

    def _on_choice(self, event: Event) -> None:
        data = event.data
        change = self._change(arm_key(data["arm"]), event)
        if data["number"] is not None:  # None: no trial of the search came to its end
            self._choices[data["arm"], data["replicate"]] = data["number"]
            change.tags[f"study.chosen.r{data['replicate']}"] = f"#{data['number']}"
        change.texts[HISTORY] = search_history(self._of(data["arm"]))

    def _on_finish(self, event: Event) -> None:
        self._conclude(event, "complete")

    def _on_cap(self, event: Event) -> None:
        for key in self._running():
            self._end(self._change(key, event), event, "KILLED", "interrupted")
        spent, limit = (f"{round(event.data[name], 4):,.12g}" for name in ("spent", "limit"))
        self._conclude(event, "capped", f"{event.data['cap']}: {spent} of {limit}")

    def _conclude(self, event: Event, state: str, reason: str = "") -> None:
        self._concluded.append(event)
        for arm in self._arms:
            change = self._change(arm_key(arm), event)
            change.model = self._best(arm)
            self._end(change, event, "FINISHED", state)
        self._end(self._change(STUDY, event), event, "FINISHED", state, reason)

    def _on_interrupted(self, event: Event) -> None:
        error = event.data.get("error")  # of a driver that failed; none where it was asked to stop
        how = ("FAILED", "failed", str(error)) if error else ("KILLED", "interrupted")
        for key in (*self._running(), *map(arm_key, self._arms), STUDY):
            self._end(self._change(key, event), event, *how)

    def _end(self, change: Change, event: Event, status: str, state: str, reason: str = "") -> None:
        change.end(status, state, milliseconds(event.time), reason)
        if reason:
            self._reasoned.add(change.key)

    def _reopen(self, change: Change) -> None:
        change.reopen(reason=change.key in self._reasoned)
        self._reasoned.discard(change.key)

    def _running(self) -> list[str]:
        """Keys of the trials' runs that are open."""
        return [
            trial_key(name)
            for name, trial in self._trials.items()
            if trial.started is not None and trial.end is None
        ]

    def _best(self, arm: str) -> Model | None:
        trial = best_confirmed(self._of(arm), self._chosen(arm))
        if trial is None:
            return None
        about = (
            f"{trial.name}: of the arm's confirm runs the one of lowest "
            f"{self.study['spec'].get('objective', 'objective')} on validation, {trial.value:.6g}"
        )
        name = f"{self.study['name']}-{arm}"
        return Model(name, trial_key(trial.data["trial"]), trial.data["trial"], about)


def created_tag(time: float) -> str:
    """A study's birth as a tag: tells apart studies of one name on a shared server."""
    return f"{time:.6f}"
