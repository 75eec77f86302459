"""What a study does next: a state machine over the journal, with no process of its own.

It asks the phases for batches, hands out one trial at a time, takes their reports, and says when
to stop. Whatever it decides is in the journal before anyone hears of it, and a conductor opened on
that journal later goes on from there.

It counts failures too. An engine's death is nobody's failure; but a trial that was there at
:data:`SUSPECT` deaths running, with no report in between, trains alone from then on, and one that
was there at :data:`FATAL` is the one that takes engines down.
"""

from __future__ import annotations

import math
import threading
from dataclasses import asdict, dataclass
from typing import Any

from study.journal import Event, Journal
from study.journal.backend import JournalBackend
from study.search.budget import Cap, Spending
from study.search.phases import Ask, Chosen, Confirm, Phase, Search
from study.search.queue import SUSPECT, Roster, Trial
from study.search.samplers import StudyStorage
from study.spec import StudySpec
from vae_core.errors import UserError

FATAL = 5
BY_HAND = "stopped by hand"
_FATAL = (
    f"The process of the engine that trained it died {FATAL} times running without a report in "
    f"between, the last {FATAL - SUSPECT} times with no other trial aboard.\n"
)


@dataclass(frozen=True)
class Request:
    """A trial to be trained by an engine, from its newest checkpoint if it has one."""

    trial: str
    phase: str
    seed: int
    settings: dict[str, dict[str, Any]]
    """``model``, ``training`` and ``balancer``, resolved."""
    after: int
    """The last report that is in the journal; 0 before the first."""
    until: int | None
    """Report after which the engine lets the trial go, to be decided on; None: train to the end."""
    alone: bool
    """It may have taken engines down: no other trial may share one with it."""


@dataclass(frozen=True)
class Standing:
    """How far an arm is."""

    arm: str
    ended: int
    running: int
    planned: int
    """Trials in all, confirm runs included, as far as can be told."""
    work: float
    """Trials done, parts of running ones included."""
    best: float | None
    """Lowest objective reported on validation so far."""


class Conductor:
    """Runs one study's arms through both phases.

    Args:
        spec: the study, possibly extended since its last launch.
        journal: its journal, held by this driver.
        dims: D, observed dimensions of an image.
        slots: how many trials may run at once.

    Attributes:
        interrupted: nothing more is handed out, and what runs is let go.
        cap: the cap that ended the study, if one did.
        failure: what made going on impossible, if anything did.
    """

    def __init__(self, spec: StudySpec, journal: Journal, dims: int, slots: int) -> None:
        self.spec, self.journal, self.slots = spec, journal, slots
        self.interrupted = False
        self.cap: Cap | None = None
        self.failure: Exception | None = None
        self._dims = dims
        self._storage = StudyStorage(JournalBackend(journal))
        self._phases: dict[str, Phase] = {}
        self._roster = Roster()
        self._pilots: set[str] = set()
        self._choices: dict[str, int | None] = {}
        self._stopped_arms: set[str] = set()
        self._spending = Spending()
        self._lock = threading.RLock()
        with self._lock:
            self._restore()
            journal.observe(self._spending.follow)
            for phase in list(self._phases.values()):
                self._advance(phase)
            journal.commit()

    @property
    def trials(self) -> dict[str, Trial]:
        """All trials asked so far, by name, in the order they were asked."""
        return self._roster.trials

    # -- what the scheduler asks ----------------------------------------------------------------

    @property
    def finished(self) -> bool:
        """Nothing is left to hand out, and nothing is running."""
        with self._lock:
            return not self._roster.running and (self.interrupted or not self._roster.ready)

    @property
    def complete(self) -> bool:
        """Every trial of the study has ended."""
        with self._lock:
            return all(trial.state is not None for trial in self.trials.values())

    def running(self) -> set[str]:
        """The trials that were handed out and are not back."""
        with self._lock:
            return set(self._roster.running)

    @property
    def startable(self) -> bool:
        """Whether a trial is running, or could be."""
        with self._lock:
            return bool(self._roster.running or self._roster.ready)

    def next(self) -> Request | None:
        """A trial to start now, or None while all slots are taken or batches are incomplete."""
        with self._lock:
            if self.interrupted or len(self._roster.running) >= self.slots:
                return None
            trial = self._roster.first()
            if trial is None:
                return None
            self._roster.hand_out(trial)
            return Request(
                trial=trial.ask.trial,
                phase=trial.ask.phase,
                seed=trial.ask.seed,
                settings=trial.settings,
                after=trial.step,
                until=trial.step + 1 if trial.phase.synchronous else None,
                alone=trial.alone,
            )

    def report(self, name: str, report: dict[str, Any]) -> bool:
        """Take a report of trial ``name``; return whether its slot is to be given up.

        ``report`` holds ``step``, ``images``, ``metrics``, ``seconds``, ``engine`` (which made
        it), ``start`` (where the trial is now) and, if it is the trial's last, ``end``. One that
        is in the journal changes nothing; one that another engine has made before is work done
        twice, and recorded as that.
        """
        with self._lock:
            trial = self.trials[name]
            if "start" in report:
                self._place(trial, report["start"])
            if trial.state is None and (report["engine"], report["step"]) not in trial.made:
                if report["step"] > trial.step or "end" in report:
                    self._record(trial, report)
                else:
                    self._journal_report(trial, report, redone=True)
                self.journal.commit()
            return trial.state is not None or trial.held or self.interrupted

    def died(self, name: str, engine: str) -> bool:
        """Say that the process of an engine died with trial ``name`` aboard.

        Returns whether the trial is over: it has taken too many engines down.
        """
        with self._lock:
            trial = self.trials[name]
            if trial.state is None:
                self.journal.append("death", {"trial": name, "engine": engine})
                trial.deaths += 1
                if trial.deaths >= FATAL:
                    self._end(trial, {"state": "failed", "reason": "crashed", "traceback": _FATAL})
                    self._decide(trial.phase)
                self.journal.commit()
            return trial.state is not None

    def suspended(self, engine: str, seconds: dict[str, float]) -> None:
        """Say that ``engine`` put its trials down inside a segment, in checkpoints.

        ``seconds`` are, by trial, device seconds trained since the last report.
        """
        with self._lock:
            for name, spent in seconds.items():
                put_down = {"trial": name, "engine": engine, "seconds": {"training": spent}}
                self.journal.append("suspend", put_down)
            self.journal.commit()

    def stop(self, *, arm: str | None = None, trial: str | None = None) -> list[str]:
        """End a trial, or all of an arm and the arm with them, by hand; return who was running.

        Raises:
            UserError: there is no such trial or arm, or it has ended.
        """
        with self._lock:
            if trial is not None:
                ended = [self._known(trial)]
                if ended[0].state is not None:
                    raise UserError(f"trial '{trial}' has ended already", where=self.spec.name)
            else:
                if arm not in self.spec.arms:
                    raise UserError(f"no arm '{arm}'", where=self.spec.name)
                ended = [t for t in self._of(arm) if t.state is None]
                self._stopped_arms.add(arm)
            self.journal.append("stop", {"arm": arm} if trial is None else {"trial": trial})
            for found in ended:
                self._end(found, {"state": "pruned", "reason": BY_HAND})
                self._decide(found.phase)
            self.journal.commit()
            return [found.ask.trial for found in ended if found.running]

    def retry(self, name: str) -> str:
        """Run a failed or pruned trial again, from its beginning; return the new trial's name.

        Optuna cannot open a trial again that has been told. So the retry is a trial of its own,
        of equal configuration, number and seed, and both are charged.

        Raises:
            UserError: no such trial, one that has not failed and was not pruned, or one that was
                retried already: then the last retry is the one to try again.
        """
        with self._lock:
            old = self._known(name)
            if old.state not in {"failed", "pruned"}:
                state = old.state or "not over"
                raise UserError(f"trial '{name}' is {state}", where=self.spec.name)
            tried = self._roster.of(old.phase)
            attempts = [other for other in tried if other.ask.number == old.ask.number]
            if attempts[-1] is not old:
                where = f"retried already, as '{attempts[-1].ask.trial}'"
                raise UserError(f"trial '{name}' was {where}", where=self.spec.name)
            again = old.phase.ask_again(old.ask, len(attempts))
            self._ask(again, old.phase)
            self.journal.commit()
            return again.trial

    def check_caps(self, now: float) -> None:
        """End the study in order if one of its caps has been reached."""
        with self._lock:
            self.cap = self._spending.exceeded(self.spec, now) or self.cap
            self.interrupted = self.interrupted or self.cap is not None

    def fail(self, error: Exception) -> None:
        """Give up: what has happened makes going on impossible."""
        with self._lock:
            self.failure = self.failure or error
            self.interrupted = True

    def note(self, kind: str, data: dict[str, Any]) -> None:
        """Record something that decides nothing."""
        with self._lock:
            self.journal.append(kind, data)
            self.journal.commit()

    def returned(self, name: str) -> None:
        """Say that trial ``name`` is not in a slot any more, whatever became of it.

        Only now may another take its place: Tune then has the trial's process free to use again.
        """
        with self._lock:
            self._roster.take_back(self.trials[name])

    def standings(self) -> list[Standing]:
        """How far every arm is, in the spec's order."""
        with self._lock:
            return [self._standing(arm) for arm in self.spec.arms]

    def interrupt(self) -> None:
        """Hand out nothing more, and let go what runs."""
        with self._lock:
            self.interrupted = True

    def _standing(self, arm: str) -> Standing:
        spec = self.spec.arms[arm]
        trials = self._of(arm)
        searched = spec.search.trials * spec.search.replicates if spec.search else 0
        confirmed = len(self.spec.seeds) * (spec.search.replicates if spec.search else 1)
        values = [t.value for t in trials if t.value is not None and math.isfinite(t.value)]
        reports = self.spec.training.reports
        return Standing(
            arm=arm,
            ended=sum(trial.state is not None for trial in trials),
            running=sum(trial.running for trial in trials),
            planned=max(searched + confirmed, len(trials)),
            work=sum(1.0 if trial.state else trial.step / reports for trial in trials),
            best=min(values, default=None),
        )

    def _place(self, trial: Trial, start: dict[str, Any]) -> None:
        """Record a new place of training, or numerics key, and the first timing of a new shape."""
        if (trial.engine, trial.key) == (start["engine"], start["key"]):
            return
        trial.engine, trial.key, shape = start["engine"], start["key"], start["shape"]
        place = {key: start[key] for key in ("engine", "shape", "key")}
        self.journal.append("start", {"trial": trial.ask.trial, **place})
        if shape not in self._pilots:
            self._pilots.add(shape)
            timing = {
                "width": start["key"]["width"],
                "seconds_per_image": start["seconds_per_image"],
            }
            self.journal.append("pilot", {"shape": shape, **timing})

    # -- reports and ends -----------------------------------------------------------------------

    def _record(self, trial: Trial, report: dict[str, Any]) -> None:
        step = report["step"]
        if step > trial.step:
            trial.step, trial.deaths = step, 0
            trial.value = report["metrics"].get(f"validation/{self.spec.objective}")
            self._journal_report(trial, report)
            if not trial.phase.synchronous:
                self._report_to_optuna(trial)
        if "end" in report:
            self._end(trial, report["end"])
        elif trial.phase.synchronous:
            self._roster.hold(trial)
        elif trial.phase.should_prune(trial.ask.optuna):
            self._end(trial, {"state": "pruned"})
        self._decide(trial.phase)

    def _journal_report(
        self, trial: Trial, report: dict[str, Any], *, redone: bool = False
    ) -> None:
        trial.made.add((report["engine"], report["step"]))
        fields = {k: report[k] for k in ("step", "images", "metrics", "seconds", "engine")}
        again = {"redone": True} if redone else {}
        self.journal.append("report", {"trial": trial.ask.trial, **fields, **again})

    def _end(self, trial: Trial, end: dict[str, Any]) -> None:
        if end["state"] == "complete" and not _finite(trial.value):
            end = {**end, "state": "failed", "reason": f"diverged at report {trial.step}"}
        self._roster.end(trial, end["state"])
        filled = {"reason": "", "metrics": {}, "seconds": {}, "artifacts": {}, "traceback": ""}
        value = trial.value if trial.state == "complete" else None
        fixed = {"trial": trial.ask.trial, "step": trial.step, "value": value}
        self.journal.append("end", {**filled, **end, **fixed})
        self._advance(trial.phase)

    def _report_to_optuna(self, trial: Trial) -> None:
        if trial.value is not None and math.isfinite(trial.value):
            trial.phase.report(trial.ask.optuna, trial.step, trial.value)

    def _decide(self, phase: Phase) -> None:
        """Let a batch that has reached a report whole go on, less what the pruner takes out.

        A retry that joined the batch is behind it: it is decided on by itself until it is not.
        """
        if not phase.synchronous:
            return
        batch = self._roster.batch(phase)
        if not batch.reached:
            return
        living = [trial for trial in batch.trials if trial.state is None]
        step = min(trial.step for trial in living)
        decided = [trial for trial in living if trial.step == step]
        for trial in decided:
            self._report_to_optuna(trial)
        pruned = [trial for trial in decided if phase.should_prune(trial.ask.optuna)]
        for trial in decided:
            self._roster.hold(trial, False)
        for trial in pruned:
            self._end(trial, {"state": "pruned"})

    # -- batches and phases ---------------------------------------------------------------------

    def _advance(self, phase: Phase) -> None:
        """Tell a batch that has ended, and ask what follows it."""
        batch = self._roster.batch(phase)
        if not batch.over:
            return
        for trial in batch.trials:
            assert trial.state is not None
            phase.tell(trial.ask.optuna, trial.state, trial.value)
        batch.trials.clear()
        if phase.arm in self._stopped_arms:
            return
        asked = phase.ask_batch()
        for ask in asked:
            self._ask(ask, phase)
        if not asked and isinstance(phase, Search):
            self._choose(phase)

    def _choose(self, search: Search) -> None:
        """Open the confirm phase of the configuration the search found best on validation."""
        best = search.best()
        number = None if best is None else best.number
        if self._choices.get(search.name, ...) == number:
            return
        self._choices[search.name] = number
        self.journal.append(
            "choice",
            {
                "arm": search.arm,
                "replicate": search.replicate,
                "number": number,
                "value": None if best is None else best.value,
            },
        )
        if best is not None:
            self._advance(self._confirm(search, best))

    def _confirm(self, search: Search, chosen: Chosen) -> Confirm:
        confirm = Confirm(self._storage, self.spec, search.arm, search.replicate, chosen)
        self._phases[confirm.name] = confirm
        return confirm

    def _restore(self) -> None:
        for arm, spec in self.spec.arms.items():
            for replicate in range(spec.search.replicates if spec.search else 1):
                phase: Phase
                if spec.search:
                    phase = Search(self._storage, self.spec, arm, replicate)
                else:
                    phase = Confirm(self._storage, self.spec, arm, replicate, None)
                self._phases[phase.name] = phase
        for event in self.journal.events:
            self._replay(event)
            self._spending.follow(event)
        for phase in self._phases.values():
            batch = self._roster.batch(phase)
            batch.trials = [t for t in batch.trials if not phase.told(t.ask.optuna)]
            for trial in batch.trials:
                if trial.state is None and phase.synchronous:
                    self._roster.hold(trial, trial.step > phase.reported(trial.ask.optuna))

    def _replay(self, event: Event) -> None:
        data = event.data
        if event.kind == "choice":
            search = self._phases[f"{data['arm']}.search.r{data['replicate']}"]
            assert isinstance(search, Search)
            self._choices[search.name] = data["number"]
            if data["number"] is not None:
                tried = self._roster.of(search)
                params = next(t.ask.params for t in tried if t.ask.number == data["number"])
                self._confirm(search, Chosen(data["number"], params, data["value"]))
        elif event.kind == "trial":
            fields = {key: data[key] for key in Ask.__dataclass_fields__}
            ask = Ask(**fields)
            self._roster.add(Trial(ask, self._phases[ask.of], data["settings"]))
        elif event.kind == "report":
            trial = self.trials[data["trial"]]
            trial.made.add((data["engine"], data["step"]))
            if data.get("redone"):
                return
            trial.step, trial.deaths = data["step"], 0
            trial.value = data["metrics"].get(f"validation/{self.spec.objective}")
        elif event.kind == "pilot":
            self._pilots.add(data["shape"])
        elif event.kind == "death":
            self.trials[data["trial"]].deaths += 1
        elif event.kind == "stop" and "arm" in data:
            self._stopped_arms.add(data["arm"])
        elif event.kind == "end":
            self._roster.end(self.trials[data["trial"]], data["state"])

    def _ask(self, ask: Ask, phase: Phase) -> None:
        settings = self.spec.resolve(ask.arm, ask.params, self._dims)
        self._roster.add(Trial(ask, phase, settings))
        self.journal.append("trial", {**asdict(ask), "settings": settings})

    def _known(self, name: str) -> Trial:
        if name not in self.trials:
            raise UserError(f"no trial '{name}'", where=self.spec.name)
        return self.trials[name]

    def _of(self, arm: str) -> list[Trial]:
        return [trial for trial in self.trials.values() if trial.ask.arm == arm]


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
