"""Processes that work beside this one, each fed over its standard input.

A worker is a new interpreter (:mod:`vae_core.interpreters`).
"""

from __future__ import annotations

import os
import pickle
import traceback
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from queue import SimpleQueue
from types import TracebackType
from typing import BinaryIO, Generic, TypeVar

from vae_core import interpreters
from vae_core.errors import UserError

T = TypeVar("T")
R = TypeVar("R")
MOST = 16
"""Workers at most: beyond, one process cannot write what they read."""


class Workers(Generic[T, R]):
    """As many workers as this process may use cores; each call of ``work`` goes to one of them.

    For what holds Python's lock, as Pillow does for most of the time that a small image takes:
    threads would not share it.

    Args:
        work: as of :class:`Worker`.
        does: likewise.
    """

    def __init__(self, work: Callable[[T], R], does: str) -> None:
        count = min(MOST, len(os.sched_getaffinity(0)))
        self._workers = [Worker(work, does) for _ in range(count)]
        self._idle = SimpleQueue[Worker[T, R]]()
        for worker in self._workers:
            self._idle.put(worker)
        self._threads = ThreadPoolExecutor(count)

    def __enter__(self) -> Workers[T, R]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._threads.shutdown(cancel_futures=True)
        for worker in self._workers:
            worker.close()

    def submit(self, argument: T) -> Future[R]:
        """Work on ``argument``; what the work raises is raised by the future's ``result``."""
        return self._threads.submit(self._call, argument)

    def _call(self, argument: T) -> R:
        worker = self._idle.get()
        try:
            result: R = worker(argument)
            return result
        finally:
            self._idle.put(worker)


class WorkerEndedError(UserError):
    """A worker that has died."""

    exit_code = 1


class Worker(Generic[T, R]):
    """One process; called with an argument, it returns or raises what ``work`` does.

    Args:
        work: importable by its name, with what it holds; so are its arguments and results.
        does: what, in words, for the error raised where it dies.

    Raises:
        WorkerEndedError: of a call, where it has died.
    """

    def __init__(self, work: Callable[[T], R], does: str) -> None:
        self._does = does
        self._process = interpreters.start(__name__)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._to, self._from = self._process.stdin, self._process.stdout
        self._send(work)

    def __call__(self, argument: T) -> R:
        self._send(argument)
        try:
            raised, answer = pickle.load(self._from)
        except EOFError:
            raise self._ended() from None
        if raised:
            raise answer
        result: R = answer
        return result

    def kill(self) -> None:
        """End it, whatever it is doing; :meth:`close` is still to be called."""
        self._process.kill()

    def close(self) -> None:
        """End it once it has done what it is doing."""
        self._from.close()
        with suppress(BrokenPipeError):
            self._to.close()
        self._process.wait()

    def _send(self, message: object) -> None:
        try:
            pickle.dump(message, self._to)
            self._to.flush()
        except BrokenPipeError:
            raise self._ended() from None

    def _ended(self) -> WorkerEndedError:
        return WorkerEndedError(
            f"a process that {self._does} has ended (exit code {self._process.wait()})",
            remedy="what it printed says why; -9 is often the system, where memory ran out",
        )


def serve(given: BinaryIO, answers: BinaryIO) -> None:
    """What a worker does: read the work, then arguments; write what comes of each."""
    work = pickle.load(given)
    while True:
        try:
            argument = pickle.load(given)
        except EOFError:
            return
        try:
            answer = False, work(argument)
        except Exception as error:
            answer = True, _sendable(error)
        pickle.dump(answer, answers)
        answers.flush()


def _sendable(error: Exception) -> Exception:
    """``error``, or what it says, where it would not come back from being pickled."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        said = RuntimeError("".join(traceback.format_exception_only(error)).strip())
        for note in getattr(error, "__notes__", ()):
            said.add_note(note)
        return said
    return error


if __name__ == "__main__":
    interpreters.serve(serve)
