"""The driver's side of MLflow: one background thread that nothing waits for."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from study.tracking.changes import Event, NotHeldError, Pack
from study.tracking.projection import Findings, Tree, created_tag
from study.tracking.store import artifact_location, prepare

if TYPE_CHECKING:
    from study.analysis.answers.by_arm import ArmAnswer
    from study.tracking.sink import Sink

Item: TypeAlias = Event | Findings
T = TypeVar("T")

log = logging.getLogger(__name__)

_BATCH = 5000  # events turned into changes at a time
_GATHER = 1.0  # seconds that events wait for company
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 30.0  # seconds between attempts while the store is away
_FAILURES = 3  # runs that may fail before the rest of a round is left for later


class MlflowWriter:
    """Writes a study's journal events to MLflow, each once, in its own thread.

    The journal is the record: on resume the whole of it is sent again, from its ``study`` event
    on, and what MLflow already holds is skipped. While the store is away, events wait in the
    journal, here as references only, but for the few thousand oldest; they are tried again, ever
    less often up to every 30 seconds. What the store refuses for good is logged as a warning and
    left out. Once another driver has taken the study over, nothing is written any more, ever.

    Args:
        uri: the store, from ``tracking_uri``.
        home: the study's home; artifacts named in events lie in it. Its parent holds the
            embedded store.
        held: whether the study is still this driver's; looked at right before every write.
        pack: makes an MLflow model of a trial; called in the thread, for each arm's best.
    """

    def __init__(self, uri: str, home: Path, held: Callable[[], bool], pack: Pack) -> None:
        self._uri, self._home, self._held, self._pack = uri, home.resolve(), held, pack
        self._tree = Tree(self._home)
        self._queue: deque[Item] = deque()
        self._wake = threading.Condition()
        self._taken: list[Item] = []  # of this round
        self._pending = 0  # events that left the queue and are not in MLflow yet
        self._deadline: float | None = None  # set by close: when to give up
        self._respite = 0.0  # likewise: seconds from each write that arrives until then
        self._problem: str | None = None
        # A daemon: a store that hangs must not keep a finished driver from exiting.
        self._thread = threading.Thread(target=self._serve, name="mlflow-writer", daemon=True)
        self._thread.start()

    def send(self, event: Event) -> None:
        """Hand over one journal event; returns at once."""
        self._put(event)

    def finish_study(
        self, files: Mapping[str, Path], text: str, answers: Mapping[str, ArmAnswer]
    ) -> None:
        """Log report, figures, tables and a description on the study's run, answers on its arms'.

        ``files`` maps the path in the run to the file, both of one file name; ``answers`` have
        the arms' names. To be called after the event that ended the study, whose time the
        answers' metrics have, once for each such event; all else may come again, newer. Returns
        at once; the files must stay until ``close``.
        """
        self._put(Findings(files, text, answers))

    @property
    def unsent(self) -> int:
        """Events that MLflow does not hold yet."""
        with self._wake:
            return len(self._queue) + self._pending

    @property
    def problem(self) -> str | None:
        """Why the last attempt failed; None while all goes well."""
        return self._problem

    def close(self, timeout: float, *, drain: bool = False) -> int:
        """Write what is left, for at most ``timeout`` seconds; what is sent afterwards stays here.

        Args:
            timeout: seconds until what is left is left out.
            drain: count them anew whenever something has arrived: the store is slow, not away.

        Returns:
            How many events did not arrive. They are in the journal, and go out on the next launch.
        """
        with self._wake:
            self._deadline = time.monotonic() + timeout
            self._respite = timeout if drain else 0.0
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
            log.warning("nothing more goes to MLflow from here: %s", self._problem)

    def _work(self) -> None:
        sink = self._insist(self._connect)
        pause = 0.0
        while sink is not None:
            for item in self._take(pause):
                self._follow(sink, item)
            failed = self._flush(sink)
            with self._wake:
                changes = self._tree.pending.values()
                self._pending = len(set().union(*(change.items for change in changes)))
                drained = not self._queue and not self._pending
            pause = min(max(2 * pause, _FIRST_PAUSE), _LONGEST_PAUSE) if failed else 0.0
            if self._out_of_time() or (drained and self._deadline is not None):
                self._insist(sink.tidy)
                return

    def _take(self, pause: float) -> list[Item]:
        """Wait for something to do; after a failure, ``pause`` seconds before trying again."""
        with self._wake:
            if not pause:
                self._wake.wait_for(lambda: self._queue or self._deadline is not None)
            # A short while more: several reports of a run are much cheaper in one call.
            self._wake.wait_for(lambda: self._deadline is not None, timeout=pause or _GATHER)
            if pause and self._deadline is not None:
                self._wake.wait(timeout=_FIRST_PAUSE)
            # What waits for the store is copied into changes: while it is away, no more of that.
            room = max(0, _BATCH - self._pending)
            self._taken = [self._queue.popleft() for _ in range(min(len(self._queue), room))]
            self._pending += len(self._taken)
        return self._taken

    def _follow(self, sink: Sink, item: Item) -> None:
        if isinstance(item, Findings):
            self._tree.attach(item)
            return
        if item.kind == "study" and not self._tree.study:
            self._open(sink, item)
        try:
            self._tree.add(item)
        except Exception:  # one odd event must not end the thread for all that follow
            log.exception("not in MLflow, for it cannot be understood: %s", item)

    def _open(self, sink: Sink, study: Event) -> None:
        name, created = str(study.data["name"]), created_tag(study.time)
        artifacts = artifact_location(self._uri, self._home.parent, name)
        question = str(study.data["spec"].get("question", ""))
        self._insist(lambda: sink.open(name, question, created, artifacts))
        with self._wake:
            known = [
                item for item in (*self._taken, *self._queue) if not isinstance(item, Findings)
            ]
        sink.trust({event.sequence: event.time for event in known})
        self._tree.written, self._tree.answered = sink.written, sink.answered

    def _flush(self, sink: Sink) -> bool:
        """Write every pending change once; whether some have to be tried again."""
        tree, failures = self._tree, 0
        for key in list(tree.pending):
            if failures == _FAILURES or self._out_of_time():
                return True
            change = tree.pending.pop(key)
            try:
                sink.write(change, tree.describe, tree.study["data"])
            except NotHeldError:
                raise
            except Exception as error:
                if sink.refused(error):
                    log.warning("MLflow refused what run '%s' had to say: %s", key, error)
                    continue
                tree.pending[key] = change  # at the end: one bad run must not hold up the others
                failures += 1
                self._note(error)
                continue
            with self._wake:
                if self._deadline is not None and self._respite:
                    self._deadline = time.monotonic() + self._respite
        if not failures and self._problem is not None:
            self._problem = None
            log.warning("MLflow is back")
        return failures > 0

    def _connect(self) -> Sink:
        if not self._held():
            raise NotHeldError
        prepare(self._uri)
        from study.tracking.sink import Sink

        return Sink(self._uri, self._held, self._pack)

    def _insist(self, action: Callable[[], T]) -> T | None:
        """Do ``action``, again and again until it works; None when ``close`` ran out of time."""
        pause = _FIRST_PAUSE
        while True:
            try:
                return action()
            except NotHeldError:
                raise
            except Exception as error:
                self._note(error)
            with self._wake:
                self._wake.wait_for(lambda: self._deadline is not None, timeout=pause)
                if self._deadline is not None:
                    self._wake.wait(timeout=_FIRST_PAUSE)
            if self._out_of_time():
                return None
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _out_of_time(self) -> bool:
        return self._deadline is not None and time.monotonic() > self._deadline

    def _note(self, error: Exception) -> None:
        if self._problem is None:
            log.warning("MLflow is away, what it should get is kept and tried again: %s", error)
        self._problem = str(error)
