"""An engine: owns a device and its banks, and trains whatever trials hold its slots.

One thread trains. The methods only leave word for it, or wait for what it has made, so a call
never waits for more than the steps up to the next report. Trials come and go while the others
train: continuous batching, for trials.
"""

from __future__ import annotations

import json
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from study.engine import checkpoints
from study.engine.config import EngineConfig
from study.engine.evaluation import Evaluation
from study.engine.fence import Fence, FencedError
from study.engine.timing import time_widths
from study.engine.trial_run import Report, Run, Stopwatch, TroubleError
from study.spec import training_steps
from vae_core.bank import Bank
from vae_core.batches import TrainingImages
from vae_core.data import Dataset, PreparedData
from vae_core.memory import keep_freed_memory
from vae_core.numerics import numerics_key, settle_kernels

CHUNK_SECONDS = 0.5
"""How long the training thread goes without looking up: what an admission waits for at most."""
PILOT_STEPS = 5
BEAT = 5.0
"""Seconds between two heartbeats: what a killed engine's account may lack."""
PATIENCE = 8.0
"""Seconds that stopping waits for the steps in hand, and for the last heartbeat."""


class _PutOffError(Exception):
    """A trial's close measurements must wait: they begin again from its checkpoint."""


@dataclass
class _Bank:
    """A bank, and how fast it trains."""

    bank: Bank
    step_seconds: float = CHUNK_SECONDS


class Engine:
    """See the module. Made in two steps: the process first, the data when they are ready.

    An exception of a bank with several members is none of theirs until it comes again: all go
    back to their newest checkpoints, and each is trained alone up to its next report. Whoever
    raises alone has crashed.

    Where memory is short, all go on from their newest checkpoints in banks of half the width,
    those that find no row after the others; with one row a bank, somebody is to blame.
    """

    def __init__(self, config: EngineConfig) -> None:
        self._born = time.perf_counter()
        torch.set_num_threads(1)
        keep_freed_memory()
        settle_kernels()
        self.config = config
        self._device, self._width = torch.device(config.device), 1
        self._fence = Fence(Path(config.home), config.epoch)
        self._heartbeat = Path(config.home) / "engines" / f"{config.name}.json"
        self._change = threading.Condition()
        self._runs: dict[str, Run] = {}
        self._waiting: list[Run] = []
        self._occupants: list[Run] = []
        self._banks: dict[str, _Bank] = {}
        self._pilots: dict[str, float] = {}
        self._seconds = dict.fromkeys(
            (
                *("start_up", "training", "evaluation", "second_stage"),
                *("pilot", "idle_slots", "waiting"),
            ),
            0.0,
        )
        self._left: dict[str, float] = {}  # unreported seconds of trials that are not here now
        self._idle_since: float | None = None
        self._suspending = False
        self._suspended: dict[str, float] = {}
        self._stopped = threading.Event()
        self._failure: BaseException | None = None
        self._threads = [
            threading.Thread(target=self._train, daemon=True, name="training"),
            threading.Thread(target=self._beat, daemon=True, name="heartbeat"),
        ]

    def time_widths(
        self, spec: Mapping[str, Any], data: Mapping[str, Any], widths: Sequence[int]
    ) -> dict[int, float]:
        """Seconds per image in banks of ``widths`` rows; nothing if the model cannot be trained."""
        torch.set_num_threads(1)  # of this thread
        try:
            return time_widths(spec, data, self.config.device, widths)
        except Exception:  # a model of the user's own may raise anything
            return {}

    def prepare(self, data: Mapping[str, Any], validation: float, width: int) -> dict[str, Any]:
        """Open the data and begin, with ``width`` slots; return what the engine is."""
        home = Path(self.config.home)
        if not home.is_dir():
            raise FileNotFoundError(
                f"{home} is not there on this node: the studies' home must be on shared storage"
            )
        self._width = width
        prepared = PreparedData.from_dict(data)
        self._data = Dataset.open(prepared, validation, verify=False)
        self._images = TrainingImages(self._data.train, self._device)
        self._evaluation = Evaluation.of(self._data, prepared, self._images, self.config)
        self._seconds["start_up"] = time.perf_counter() - self._born
        for thread in self._threads:
            thread.start()
        return {**self._identity(), "features": self._evaluation.features()}

    def admit(self, request: dict[str, Any]) -> None:
        """Train a trial as soon as a row is free; again for one already here, nothing happens."""
        training = request["settings"]["training"]
        steps = training_steps(training["epochs"], training["batch_size"], self._images.count)
        with self._change:
            if request["trial"] in self._runs or self._stopped.is_set():
                return
            run = Run(request, steps, self.config)
            self._runs[run.trial] = run
            self._waiting.append(run)
            self._change.notify_all()

    def aboard(self) -> tuple[int, list[str]]:
        """How many slots there are, and the trials that were admitted and not released."""
        with self._change:
            return self._width, list(self._runs)

    def reports(self, trial: str, after: int) -> list[dict[str, Any]]:
        """What there is to hear of ``trial`` since its admission, less the first ``after``.

        That is, in order: reports a former engine made later than the request's ``after``; every
        report made here, those the study has already (work done again) included; or last
        ``{"trouble": what}`` where the storage fails. Waits for the first.

        Empty where the trial is not here, or leaves while waiting, or the engine ends; and where
        all is heard that its stay here will bring. So ends one whose release was lost, for whoever
        has asked for another stay.
        """
        with self._change:
            run = self._runs.get(trial)
            while (
                run is not None
                and self._holds(run)
                and not run.over
                and len(run.deliverables) <= after
            ):
                self._change.wait()
            if run is None or not self._holds(run):
                return []
            start, run.heard = self._start(run), max(run.heard, len(run.deliverables))
            return [{"start": start, **report} for report in run.deliverables[after:]]

    def release(self, trial: str) -> None:
        """Take ``trial`` out of its slot; nothing happens if it is not here."""
        with self._change:
            run = self._runs.get(trial)
            if run is not None:
                self._let_go(run)

    def suspend(self) -> dict[str, float]:
        """Put every trial that is not over down in a checkpoint, inside a segment if need be.

        Returns:
            By trial, device seconds spent here since its last report: they are the caller's to
            charge, and no longer unreported.
        """
        with self._change:
            self._suspending = True
            self._change.notify_all()
            while self._suspending and not self._stopped.is_set():
                self._change.wait()
            found, self._suspended = self._suspended, {}
            return found

    def serve(self) -> None:
        """Return only when the engine stops; whoever waits for this learns of its death.

        Raises:
            RuntimeError: the engine failed, for no trial's fault.
        """
        self._stopped.wait()
        if self._failure is not None:
            raise RuntimeError(f"engine {self.config.name} failed") from self._failure

    def stop(self) -> dict[str, Any]:
        """End training; return the engine's account, as in its heartbeats.

        ``seconds`` are device seconds by purpose; ``unreported``, by trial, those of them that are
        in no report: work that is lost unless its trial goes on from a checkpoint.
        """
        self._end()
        deadline = time.monotonic() + PATIENCE
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(0.0, deadline - time.monotonic()))
        return self._account()

    # -- the training thread ------------------------------------------------------------------

    def _train(self) -> None:
        torch.set_num_threads(1)  # of this thread: the setting is each thread's own
        turn = 0
        try:
            while not self._stopped.is_set():
                if self._suspending:
                    self._put_down()
                self._vacate()
                self._place()
                busy = self._busy()
                if busy:
                    turn += 1
                    self._advance(busy[turn % len(busy)])
                else:
                    self._wait()
        except FencedError:
            pass
        except BaseException as error:
            self._failure = error
        finally:
            self._end()

    def _wait(self) -> None:
        """Sleep until a trial comes or goes."""
        with self._change:
            self._idle_since = time.perf_counter()
            if not (self._waiting or self._suspending or self._stopped.is_set()):
                self._change.wait()
            self._seconds["waiting"] += time.perf_counter() - self._idle_since
            self._idle_since = None

    def _vacate(self) -> None:
        """Free the rows of trials that have been released or are over."""
        for run in [run for run in self._occupants if run.released or run.over]:
            run.leave()
            with self._change:
                self._occupants.remove(run)
                self._settle(run)

    def _place(self) -> None:
        """Give waiting trials rows, as far as there are any; suspects one at a time."""
        with self._change:
            waiting = list(self._waiting)
        for run in waiting:
            suspects = [other for other in (*self._occupants, *waiting) if other.suspect]
            if suspects and run is not suspects[0]:
                continue
            try:
                run.load()
                if not run.over:
                    bank = self._bank(run)
                    if not bank.free:
                        continue
                    run.enter(bank)
            except TroubleError as error:
                self._give_up(run, error)
            except Exception as error:  # a model of the user's own may raise anything
                self._raised([run], error)
            with self._change:
                if run.bank is not None:
                    self._occupants.append(run)
                if run in self._waiting and (run.over or run.bank is not None):
                    self._waiting.remove(run)
                if run.over:
                    self._settle(run)
                self._change.notify_all()

    def _busy(self) -> list[str]:
        """Banks that have members."""
        return [key for key, held in self._banks.items() if self._members(held)]

    def _members(self, held: _Bank) -> list[Run]:
        return [run for run in self._occupants if run.bank is held.bank]

    def _advance(self, key: str) -> None:
        """Train a bank up to its next report, or for as long as a chunk may take."""
        held = self._banks[key]
        runs = self._members(held)
        steps = min(run.steps_to_report() for run in runs)
        try:
            if steps > 0:
                self._train_bank(held, min(steps, self._chunk(held)), runs)
        except Exception as error:  # likewise
            self._raised(runs, error)
            return
        for run in runs:
            if run.bank is held.bank and run.steps_to_report() <= 0 and not run.released:
                self._report(run)

    def _train_bank(self, held: _Bank, steps: int, runs: list[Run]) -> None:
        start = time.perf_counter()
        try:
            held.bank.train(steps)
        finally:
            elapsed = time.perf_counter() - start
            held.step_seconds = elapsed / steps
            share = elapsed / held.bank.width
            with self._change:
                for run in runs:
                    run.unreported["training"] += share
                self._seconds["training"] += share * len(runs)
                self._seconds["idle_slots"] += share * (held.bank.width - len(runs))

    def _report(self, run: Run) -> None:
        def spend(purpose: str, seconds: float) -> None:
            with self._change:
                run.unreported[purpose] += seconds
                self._seconds[purpose] += seconds

        def check() -> None:
            if self._suspending or self._stopped.is_set() or run.released:
                raise _PutOffError

        try:
            report = run.report(self._evaluation, Stopwatch(spend), check)
        except FencedError:
            raise
        except TroubleError as error:
            self._give_up(run, error)
        except _PutOffError:
            run.leave()
            with self._change:
                self._line_up(run)
        except Exception as error:  # a model's evaluation may raise, as its training
            self._raised([run], error)
        else:
            with self._change:
                self._publish(run, report)
            if run.suspect:
                self._acquit(run)

    def _chunk(self, held: _Bank) -> int:
        return max(1, int(CHUNK_SECONDS / held.step_seconds))

    def _bank(self, run: Run) -> Bank:
        """The bank of the trial's shape, made if there is none and timed if it is the first."""
        key = run.shape
        if key not in self._banks:
            settings = run.request["settings"]
            bank = Bank(
                settings["model"],
                self._images,
                self._data.shape,
                width=self._width,
                batch_size=settings["training"]["batch_size"],
                dequantize=settings["training"]["dequantize"],
                head=run.head,
                precision=self.config.precision,
            )
            if key not in self._pilots:
                start = time.perf_counter()
                try:
                    self._pilots[key] = bank.seconds_per_image(run.member, PILOT_STEPS)
                finally:
                    with self._change:
                        self._seconds["pilot"] += time.perf_counter() - start
            self._banks[key] = _Bank(bank)
        return self._banks[key].bank

    # -- trials that raise, storage that fails --------------------------------------------------

    def _raised(self, runs: list[Run], error: Exception) -> None:
        """Find out whose fault an exception is that came while ``runs`` were at work."""
        self._check_device(error)
        crowd, banks = runs, {id(run.bank) for run in runs}
        memory = isinstance(error, torch.OutOfMemoryError)
        if memory:  # all that the device holds had a part in it
            crowd = [*self._occupants, *(run for run in runs if run not in self._occupants)]
            banks = {id(held.bank) for held in self._banks.values()}
        own = {id(run.bank) for run in runs}
        narrower = memory and self._width > 1
        if narrower:
            with self._change:
                self._width //= 2
            self._pilots.clear()  # they are of the width that was
        elif len(crowd) == 1 and banks <= own:
            crashed = crowd[0].crashed("".join(traceback.format_exception(error)))
            with self._change:
                self._publish(crowd[0], crashed)
            return
        # Their rows may be half a step on: they go with their banks.
        self._banks = {k: held for k, held in self._banks.items() if id(held.bank) not in banks}
        with self._change:
            for run in crowd:
                run.put_back()
                run.suspect = run.suspect or not narrower
                self._line_up(run)

    def _acquit(self, run: Run) -> None:
        """A suspect has come to its next report alone; make room for the next suspect."""
        run.suspect = False
        if not run.over and any(other.suspect for other in self._waiting):
            run.leave()
            with self._change:
                self._line_up(run)

    def _line_up(self, run: Run) -> None:
        if run in self._occupants:
            self._occupants.remove(run)
        if run.released:
            self._settle(run)
        elif run not in self._waiting:
            self._waiting.append(run)

    def _check_device(self, error: Exception) -> None:
        """Raise ``error`` if the device works no more: no trial that comes here could be judged."""
        try:
            torch.ones(1, device=self._device).add(1).item()
        except torch.OutOfMemoryError:
            return
        except Exception:
            raise error from None

    def _give_up(self, run: Run, error: TroubleError) -> None:
        with self._change:
            run.give_up(str(error))
            self._change.notify_all()

    def _put_down(self) -> None:
        """Do what :meth:`suspend` asks."""
        found = {}
        for run in [run for run in (*self._occupants, *self._waiting) if not run.over]:
            try:
                run.suspend()
                saved = True
            except TroubleError:
                saved = False  # it goes on from its last checkpoint, less what was done since
            with self._change:
                if saved and not run.released:
                    found[run.trial] = run.take_unreported()
                run.heard = len(run.deliverables)  # the next engine delivers the rest
                self._let_go(run)
        with self._change:
            self._suspended, self._suspending = found, False
            self._change.notify_all()

    # -- who is here, and what it took; under the lock -------------------------------------------

    def _holds(self, run: Run) -> bool:
        return not run.released and not self._stopped.is_set()

    def _let_go(self, run: Run) -> None:
        self._runs.pop(run.trial, None)
        run.released = True
        if run in self._waiting:
            self._waiting.remove(run)
        if run not in self._occupants:
            self._settle(run)
        self._change.notify_all()

    def _publish(self, run: Run, report: Report) -> None:
        run.publish(report, self._start(run))
        self._change.notify_all()

    def _settle(self, run: Run) -> None:
        """Keep what a trial that leaves has not reported."""
        seconds = run.take_unreported()
        if run.released:
            seconds += run.take_unheard()
        if seconds:
            self._left[run.trial] = self._left.get(run.trial, 0.0) + seconds

    def _start(self, run: Run) -> dict[str, Any]:
        shape = run.shape
        return {
            "engine": self.config.name,
            "shape": shape,
            "key": numerics_key(self._device, self._width, self.config.precision),
            "seconds_per_image": self._pilots.get(shape),
        }

    # -- its end, and its account ----------------------------------------------------------------

    def _end(self) -> None:
        with self._change:
            self._stopped.set()
            self._change.notify_all()

    def _beat(self) -> None:
        """Leave word of the account in the home, over and over."""
        while not self._stopped.is_set():
            try:
                self._fence.check()
                checkpoints.write(self._heartbeat, json.dumps(self._account()).encode())
            except FencedError:
                self._end()
            except OSError:
                pass  # the next one may find room
            self._stopped.wait(BEAT)

    def _identity(self) -> dict[str, Any]:
        return {
            "engine": self.config.name,
            "device": self.config.device,
            "width": self._width,
            "startup_seconds": self._seconds["start_up"],
        }

    def _account(self) -> dict[str, Any]:
        with self._change:
            seconds, unreported = dict(self._seconds), dict(self._left)
            if self._idle_since is not None:
                seconds["waiting"] += time.perf_counter() - self._idle_since
            here = [*self._occupants, *self._waiting]
            here += [run for run in self._runs.values() if run not in here]
            for run in here:
                spent = run.untold()
                if spent:
                    unreported[run.trial] = unreported.get(run.trial, 0.0) + spent
        return {**self._identity(), "seconds": seconds, "unreported": unreported}
