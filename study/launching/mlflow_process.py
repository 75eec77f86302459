"""The process that writes a study to MLflow, and the driver's hold on it.

MLflow takes seconds to import, and many milliseconds of Python for each trial: in the driver it
held the interpreter more often than the study did. The process reads the study's journal, as
anyone may, so it is told little, and what it holds is in the journal again: where it dies, another
takes its place. It ends when its input does, however the driver ends.
"""

from __future__ import annotations

import io
import os
import pickle
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from subprocess import PIPE, TimeoutExpired
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from study.journal import JournalError, StudyHome, superseded
from study.journal.events import SHOWN
from study.journal.files import Follower
from study.tracking import MlflowWriter, load_mlflow
from vae_core import interpreters

if TYPE_CHECKING:
    from study.analysis.answers.by_arm import RunAnswer

POLL = 0.5
"""Seconds between looks at the journal."""
TRIES = 5
"""Processes in a row that may die on one request before it is given up."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Seconds before one that died is replaced: doubled where its successor dies as young as this."""
LEAVE = 5.0
"""Seconds that the last has to end."""
NICENESS = 5
"""On a full machine an engine, which a study waits for, has three times its share of a core; with
much more it would write nothing before the trials have ended."""
SIGN, SILENCE = 5.0, 60.0
"""Seconds between its signs of life while it works on a request; and without any, until it is
taken for frozen, and killed."""


class State(NamedTuple):
    """How far MLflow is."""

    unsent: int
    """Events that it does not hold yet."""
    problem: str | None = None
    """Why the last attempt failed; None if it did not."""
    made_anew: int = 0
    """Runs that were deleted in MLflow."""


class MlflowProcess:
    """The driver's hold on the process, which starts at once, and imports what it needs.

    Used as a context, it ends with it. What the process prints is printed here.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._told: list[tuple[Any, ...]] = []  # what a successor must be told too
        self._state: State | None = None  # the last, once it is closed
        self._ending = threading.Event()
        self._pause = FIRST_PAUSE / 2  # before the next
        self._start()
        threading.Thread(target=self._watch, name="mlflow-process", daemon=True).start()

    def __enter__(self) -> MlflowProcess:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    @property
    def pid(self) -> int:
        """Of the process there is now."""
        return self._process.pid

    def follow(self, uri: str, home: StudyHome, epoch: int) -> None:
        """Write what the journal in ``home`` holds and will hold, as the launch of ``epoch``.

        Until another launch takes the study over.
        """
        self._tell("follow", uri, home, epoch)

    def finish_study(
        self, files: Mapping[str, Path], study: RunAnswer, arms: Mapping[str, RunAnswer]
    ) -> None:
        """See :meth:`study.tracking.MlflowWriter.finish_study`; the study's end is committed."""
        self._tell("finish_study", files, study, arms)

    def state(self) -> State:
        """How far it is with all that has been committed."""
        return self._state or self._ask("state")

    def close(self, timeout: float, *, drain: bool = False) -> State:
        """See :meth:`study.tracking.MlflowWriter.close`; all that was committed is pending."""
        if self._state is None:
            self._state = self._ask("close", timeout, drain)
            self._end()
        return self._state

    def _tell(self, *message: Any) -> None:
        with self._lock:
            self._told.append(message)
            try:
                self._send(message)
            except BrokenPipeError:
                self._replace()

    def _ask(self, *message: Any) -> State:
        with self._lock:
            for _ in range(TRIES):
                try:
                    self._send(message)
                    return self._answer()
                except (BrokenPipeError, EOFError):
                    code = self._replace()
        _, _, home, _ = self._told[0]
        held = len(Follower(home.path, *SHOWN).entries)
        return State(held, f"the process that writes to it ends (exit code {code})")

    def _send(self, message: tuple[Any, ...]) -> None:
        if self._to.closed:  # none could be started in its place
            raise BrokenPipeError
        with self._patience():
            pickle.dump(message, self._to)
            self._to.flush()

    def _answer(self) -> State:
        while True:
            with self._patience():
                answer = pickle.load(self._from)
            if answer is not None:
                return State(*answer)

    @contextmanager
    def _patience(self) -> Iterator[None]:
        """A block that waits for the process, which is killed where it is silent too long."""
        limit = threading.Timer(SILENCE, self._process.kill)
        limit.start()
        try:
            yield
        finally:
            limit.cancel()

    def _replace(self) -> int:
        """Start another after a pause, and tell it what the one before was told.

        Returns:
            The exit code of the one before.
        """
        self._process.kill()
        code = self._process.wait()
        with suppress(BrokenPipeError):
            self._to.close()
        self._from.close()
        young = time.monotonic() < self._started + LONGEST_PAUSE
        self._pause = min(2 * self._pause, LONGEST_PAUSE) if young else FIRST_PAUSE
        if not self._ending.wait(self._pause):
            # Where the system can start none, or that dies, whoever asks next finds it dead.
            with suppress(OSError):
                self._start()
                for message in self._told:
                    self._send(message)
        return code

    def _start(self) -> None:
        self._started = time.monotonic()
        self._process = interpreters.start(__name__, stderr=PIPE)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._to, self._from = self._process.stdin, self._process.stdout
        self._printing = threading.Thread(
            target=_print, args=(self._process.stderr,), name="mlflow-printing", daemon=True
        )
        self._printing.start()

    def _watch(self) -> None:
        """Replace it where it dies unasked."""
        while not self._ending.is_set():
            process = self._process
            process.wait()
            with self._lock:
                if process is self._process and not self._ending.is_set():
                    self._replace()

    def _end(self) -> None:
        self._ending.set()
        with self._lock:  # else one might be started that nobody ends
            if not self._told:
                self._process.kill()  # what it may be loading is not needed
            with suppress(BrokenPipeError):
                self._to.close()
            try:
                self._process.wait(LEAVE)
            except TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._printing.join(LEAVE)
            self._from.close()


def _print(lines: BinaryIO) -> None:
    """Print what the process prints, where this one's errors go: a page of a notebook, perhaps."""
    with io.TextIOWrapper(lines, errors="replace") as text:
        for line in text:
            print(line, end="", file=sys.stderr, flush=True)


class _Following:
    """The process's side: a writer that is sent what is committed."""

    def __init__(
        self, uri: str, home: StudyHome, epoch: int, pack: Callable[[StudyHome, str, Path], None]
    ) -> None:
        self._follower = Follower(home.path, *SHOWN)
        self._sent, self._lock = 0, threading.Lock()
        self._writer = MlflowWriter(
            uri,
            home.path,
            lambda: not superseded(home.path, epoch),
            lambda trial, folder: pack(home, trial, folder),
        )
        self._catch_up()
        self._closing = threading.Event()
        threading.Thread(target=self._follow, name="journal-follower", daemon=True).start()

    def finish_study(self, *found: Any) -> None:
        self._catch_up()
        self._writer.finish_study(*found)

    def state(self) -> State:
        self._catch_up()
        return self._now()

    def close(self, timeout: float, drain: bool) -> State:
        self._closing.set()
        self._catch_up()
        self._writer.close(timeout, drain=drain)
        return self._now()

    def _now(self) -> State:
        return State(self._writer.unsent, self._writer.problem, self._writer.made_anew)

    def _follow(self) -> None:
        while not self._closing.wait(POLL):
            self._catch_up()

    def _catch_up(self) -> None:
        with self._lock:
            try:
                self._follower.poll()
            except (JournalError, OSError):
                return  # the driver, which writes it, says what ends the study
            for entry in self._follower.entries[self._sent :]:
                self._writer.send(entry)
            self._sent = len(self._follower.entries)


def serve(given: BinaryIO, answers: BinaryIO) -> None:
    """What the process does: be told what to follow, then do as asked; end with its input."""
    os.nice(NICENESS)
    with _signs_of_life(answers):  # from a slow disk it may load for minutes
        load_mlflow()
        from study.exporting.model import pack  # torch, too, while nothing waits for it

    following: _Following | None = None
    while True:
        try:
            message = pickle.load(given)
        except EOFError:
            os._exit(0)  # whatever its threads are doing: the driver has waited, or is gone
        match message:
            case ("follow", uri, home, epoch):
                following = _Following(uri, home, epoch, pack)
            case (verb, *arguments):
                with _signs_of_life(answers):
                    state = getattr(following, verb)(*arguments)
                if state is not None:
                    pickle.dump(tuple(state), answers)  # here the class is the main script's
                    answers.flush()


@contextmanager
def _signs_of_life(answers: BinaryIO) -> Iterator[None]:
    """A block that may take long, and says every few seconds that it goes on."""
    over = threading.Event()

    def give() -> None:
        while not over.wait(SIGN):
            pickle.dump(None, answers)
            answers.flush()

    giving = threading.Thread(target=give, daemon=True)
    giving.start()
    try:
        yield
    finally:
        over.set()
        giving.join()


if __name__ == "__main__":
    interpreters.serve(serve)
