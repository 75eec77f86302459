"""The driver's side of MLflow: one background thread that nothing waits for."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from study.journal.events import Entry, StudyDescribed
from study.tracking.changes import DeletedError, NotHeldError, Pack, created_tag
from study.tracking.probe import refusal
from study.tracking.projection import Findings, Projection, question
from study.tracking.store import artifact_location, prepare

if TYPE_CHECKING:
    from study.analysis.answers.by_arm import RunAnswer
    from study.tracking.sink import Sink

Item: TypeAlias = Entry | Findings
T = TypeVar("T")

log = logging.getLogger(__name__)

_BATCH = 5000  # events turned into changes at a time
_GATHER = 3.0  # seconds that events wait for others to be written with
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 30.0  # seconds between attempts while the store is away
_FAILURES = 3  # runs that may fail before the rest of a round is left for later


class MlflowWriter:
    """Writes a study's journal events to MLflow, each once, in its own thread.

    The journal is the record: on resume all of it is sent again, from its first event on, and
    what MLflow already holds is skipped. While the store is unavailable, events stay in the
    journal and this holds references to them, except for a few thousand that are pending changes
    already; it retries with a backoff of up to 30 seconds, and the same while it refuses: the
    credentials or the server may be set right. Runs that were deleted in MLflow are made anew: all
    of the journal is sent again. A value that the store rejects for good is logged as a warning and
    skipped. Once another driver has taken the study over, nothing more is written.

    Args:
        uri: the store, from ``tracking_uri``.
        home: the study's home, with the artifacts that events name. Its parent holds the
            embedded store.
        held: whether this driver still holds the study; called right before every write.
        pack: writes an MLflow model of a trial; called in the thread, for each arm's best.
    """

    def __init__(self, uri: str, home: Path, held: Callable[[], bool], pack: Pack) -> None:
        self._uri, self._held, self._pack = uri, held, pack
        self._studies, self._home = home.parent, home.resolve()  # the folder may be a link
        self._projection = Projection(self._home)
        self._queue: deque[Item] = deque()
        self._wake = threading.Condition()
        self._taken: list[Item] = []  # of this round
        self._past: list[Item] = []  # of all rounds, to make deleted runs anew
        self._pending = 0  # events that left the queue and that MLflow does not hold yet
        self._deadline: float | None = None  # set by close: when to give up
        self._grace = 0.0  # likewise: seconds from each write that arrives until then
        self._problem: str | None = None
        self._told: set[str] = set()  # kinds of problems, since it last worked
        self.made_anew = 0  # runs that were deleted in MLflow
        # A daemon: a store that hangs must not keep a finished driver from exiting.
        self._thread = threading.Thread(target=self._serve, name="mlflow-writer", daemon=True)
        self._thread.start()

    def send(self, entry: Entry) -> None:
        """Queue one entry of the journal; returns at once."""
        self._put(entry)

    def finish_study(
        self, files: Mapping[str, Path], study: RunAnswer, arms: Mapping[str, RunAnswer]
    ) -> None:
        """Log report, figures and tables on the study's run, answers on its own and its arms'.

        Call it after sending the event that ended the study; the answers' metrics get that
        event's time, once for each such event. All else may be logged again, with newer content.
        Returns at once; the files must stay until ``close``.

        Args:
            files: by path in the run, which ends in the file's name.
            study: the study's answer, with the text of its description.
            arms: by arm.
        """
        self._put(Findings(files, study, arms))

    @property
    def unsent(self) -> int:
        """Events that MLflow does not hold yet."""
        with self._wake:
            return len(self._queue) + self._pending

    @property
    def problem(self) -> str | None:
        """Why the last attempt failed; None if it did not."""
        return self._problem

    def close(self, timeout: float, *, drain: bool = False) -> int:
        """Write what is pending, for at most ``timeout`` seconds; later events are not written.

        Args:
            timeout: seconds until what is still pending is given up.
            drain: restart the count after every write that succeeds: the store is only slow.

        Returns:
            How many events MLflow did not receive. The next launch sends them, from the journal.
        """
        with self._wake:
            self._deadline = time.monotonic() + timeout
            self._grace = timeout if drain else 0.0
            self._wake.notify()
        while self._thread.is_alive() and not self._out_of_time():
            self._thread.join(max(0.0, self._deadline - time.monotonic()))
        return self.unsent

    def _put(self, item: Item) -> None:
        with self._wake:
            self._queue.append(item)
            self._wake.notify()

    def _serve(self) -> None:
        try:
            self._work()
        except NotHeldError:
            self._problem = "the study was taken over by another driver"
            log.warning("this driver writes nothing more to MLflow: %s", self._problem)

    def _work(self) -> None:
        sink = self._retry(self._connect)
        pause = 0.0
        while sink is not None:
            for item in self._take(pause):
                self._add(sink, item)
            try:
                failed = self._flush(sink)
            except DeletedError:
                self._begin_again()
                continue
            finally:
                self.made_anew = sink.made_anew
            with self._wake:
                changes = self._projection.pending.values()
                self._pending = len(set().union(*(change.items for change in changes)))
                drained = not self._queue and not self._pending
            pause = min(max(2 * pause, _FIRST_PAUSE), _LONGEST_PAUSE) if failed else 0.0
            if self._out_of_time() or (drained and self._deadline is not None):
                if not self._retry(sink.find_deleted) or self._out_of_time():
                    return
                self._begin_again()

    def _begin_again(self) -> None:
        """Send all of the journal again, as a restarted driver would: runs were deleted."""
        self._projection = Projection(self._home)
        with self._wake:
            self._queue.extendleft(reversed(self._past))
            self._past.clear()
            self._pending = 0

    def _take(self, pause: float) -> list[Item]:
        """Wait for items; after a failure, wait ``pause`` seconds before the next round."""
        with self._wake:
            if not pause:
                self._wake.wait_for(lambda: self._queue or self._deadline is not None)
            # Several reports of a run are much cheaper in one call.
            self._wake.wait_for(lambda: self._deadline is not None, timeout=pause or _GATHER)
            if pause and self._deadline is not None:
                self._wake.wait(timeout=_FIRST_PAUSE)
            # Changes hold copies of events: while the store is unavailable, make no more of them.
            room = max(0, _BATCH - self._pending)
            self._taken = [self._queue.popleft() for _ in range(min(len(self._queue), room))]
            self._pending += len(self._taken)
            self._past += self._taken
        return self._taken

    def _add(self, sink: Sink, item: Item) -> None:
        if isinstance(item, Findings):
            self._projection.attach(item)
            return
        if isinstance(item.event, StudyDescribed) and self._projection.study is None:
            self._open(sink, item.event, item.time)
        try:
            self._projection.add(item)
        except Exception:  # one bad event must not end the thread for all later ones
            log.exception("not written to MLflow, because it is inconsistent: %s", item)

    def _open(self, sink: Sink, study: StudyDescribed, time: float) -> None:
        artifacts = artifact_location(self._uri, self._studies, study.name)
        created, about = created_tag(time), question(study)
        self._retry(lambda: sink.open(study.name, about, created, artifacts))
        with self._wake:
            known = [
                item for item in (*self._taken, *self._queue) if not isinstance(item, Findings)
            ]
        sink.match_journal({entry.sequence: entry.time for entry in known})
        self._projection.written, self._projection.answered = sink.written, sink.answered
        self._projection.registered = sink.registered

    def _flush(self, sink: Sink) -> bool:
        """Write every pending change once; return whether some have to be retried."""
        projection, failures = self._projection, 0
        sink.begin_round()
        for key in list(projection.pending):
            if failures == _FAILURES or self._out_of_time():
                return True
            change = projection.pending.pop(key)
            try:
                sink.write(change, projection.describe, projection.described.data)
            except (NotHeldError, DeletedError):
                raise
            except Exception as error:
                if sink.refused(error) and refusal(self._uri, error) is None:
                    log.warning("MLflow rejected changes of run '%s': %s", key, error)
                    continue
                projection.pending[key] = change  # last: one bad run must not delay the others
                failures += 1
                self._record_problem(error)
                continue
            with self._wake:
                if self._deadline is not None and self._grace:
                    self._deadline = time.monotonic() + self._grace
        if not failures and self._problem is not None:
            self._problem = None
            self._told.clear()
            log.warning("MLflow is available again")
        return failures > 0

    def _connect(self) -> Sink:
        if not self._held():
            raise NotHeldError
        prepare(self._uri)
        from study.tracking.sink import Sink

        return Sink(self._uri, self._held, self._pack)

    def _retry(self, action: Callable[[], T]) -> T | None:
        """Do ``action`` until it succeeds; None when ``close`` ran out of time."""
        pause = _FIRST_PAUSE
        while True:
            try:
                return action()
            except NotHeldError:
                raise
            except Exception as error:
                self._record_problem(error)
            with self._wake:
                self._wake.wait_for(lambda: self._deadline is not None, timeout=pause)
                if self._deadline is not None:
                    self._wake.wait(timeout=_FIRST_PAUSE)
            if self._out_of_time():
                return None
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _out_of_time(self) -> bool:
        return self._deadline is not None and time.monotonic() > self._deadline

    def _record_problem(self, error: Exception) -> None:
        refused = refusal(self._uri, error)
        trouble = "is unavailable" if refused is None else "refuses this study"
        if trouble not in self._told:
            self._told.add(trouble)
            log.warning(
                "MLflow %s, its events are kept and sent again: %s", trouble, refused or error
            )
        self._problem = str(error) if refused is None else f"{refused.what}: {refused.remedy}"
