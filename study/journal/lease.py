"""The lease: one driver a study at a time.

The process that wrote the newest file of the study's journal holds the lease. It is acquired by
creating the next file, which the file system lets only one process do, and it is lost once another
process has done so. A holder touches its file as a heartbeat; a watcher looks only at whether the
file changes, never at another machine's clock.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
import uuid
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from study.formatting import timestamp
from study.journal.events import FORMAT
from study.journal.files import (
    FOLDER,
    epochs,
    first_line,
    has_events,
    journal_file,
    last_line,
    superseded,
)
from study.journal.home import command_line
from study.journal.lines import JournalError, control
from study.package import version
from vae_core.atomic import sync_folder
from vae_core.errors import UserError

BEAT = 2.0
"""Seconds between a holder's heartbeats."""
LAPSE = 30.0
"""Seconds without a heartbeat after which the study is taken over."""

_log = logging.getLogger(__name__)


class LeaseError(UserError):
    """Another driver holds the study."""


class LeaseLostError(UserError):
    """Another driver has taken the study over: what this one writes does not count any more."""

    exit_code = 1


@dataclass(frozen=True)
class Holder:
    """The process that writes a journal's file."""

    pid: int
    started: int
    """When the process started, in the kernel's ticks: a number used again is another process."""
    host: str
    machine: str
    """The machine's running system and the space its process numbers are of; empty: unknown."""
    since: float
    """Seconds since the Unix epoch, by the holder's clock."""

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {timestamp(self.since)}"

    @property
    def dead(self) -> bool:
        """Whether it is known to have ended."""
        if not self.machine or self.machine != _machine():
            return False
        started = _started(self.pid)
        if started is not None:
            return started != self.started
        try:  # other people's processes may be hidden
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except OSError:
            pass
        return False


class Lease:
    """The right to write a study's journal, and the file to write.

    Args:
        home: the study's folder.
        take_over: take it from the process that holds it.
        beat: seconds between heartbeats.
        lapse: seconds without one after which a holder is considered dead.

    Raises:
        LeaseError: another process holds it; the message names it, and since when.
        JournalError: the file cannot be written.
    """

    def __init__(
        self, home: Path, *, take_over: bool = False, beat: float = BEAT, lapse: float = LAPSE
    ) -> None:
        self.home, self._folder, self._every = home, home / FOLDER, beat
        try:
            home.mkdir(parents=True, exist_ok=True)
            if not self._folder.exists():
                self._folder.mkdir(exist_ok=True)
                sync_folder(home)
            newest = max(epochs(home), default=0)
            if newest and not take_over:
                _await_vacancy(home, newest, beat, lapse)
            self.epoch = newest + 1
            self.path = journal_file(home, self.epoch)
            self._file, self.end = self._take()
        except OSError as error:
            raise JournalError(
                f"cannot be written: {error.strerror}",
                where=str(self._folder),
                remedy="free some space, or keep studies where you may write and where the file "
                "system has hard links",
            ) from error
        self._torn = False
        self._released = threading.Event()
        self._heart = threading.Thread(target=self._beat, name="lease", daemon=True)
        self._heart.start()

    def write(self, data: bytes) -> None:
        """Append ``data`` and wait until it is on disk.

        Raises:
            OSError: it could not be written.
        """
        self._torn = True
        try:
            _write_all(self._file, data)
            os.fdatasync(self._file)
        except OSError:
            # Unless another has taken over, and has perhaps continued from the end of it.
            if self.held():
                os.ftruncate(self._file, self.end)
                self._torn = False
            raise
        self._torn = False
        self.end += len(data)

    def held(self) -> bool:
        """Whether no other process has taken over; cheap."""
        return not superseded(self.home, self.epoch)

    def lost(self) -> LeaseLostError:
        """What to raise once it is not held."""
        newest = max(epochs(self.home), default=0)
        if newest <= self.epoch:
            return LeaseLostError("the study was removed while it ran", where=str(self.home))
        return LeaseLostError(
            f"the study was taken over by {_holder(self.home, newest) or 'another process'}",
            where=str(self.home),
            remedy="this run has ended and changes nothing any more; the other one continues",
        )

    def release(self) -> None:
        """Let the next driver in."""
        if self._released.is_set():
            return
        self._released.set()
        self._heart.join()
        try:
            if self.held() and not self._torn:
                self.write(control(self.epoch, time.time(), "released", {}))
        except OSError as error:
            # The next driver finds that this process has ended, or sends no heartbeat.
            _log.debug("not released: %s", error)
        finally:
            os.close(self._file)

    def _take(self) -> tuple[int, int]:
        """Put the next file in place; its descriptor, and its length."""
        me = Holder(os.getpid(), _started(os.getpid()) or 0, _host(), _machine(), time.time())
        format = {"format": FORMAT, "version": version()}
        line = control(self.epoch, me.since, "lease", {**format, **asdict(me)})
        beside = self._folder / f".{self.epoch:06d}.{uuid.uuid4().hex}"
        file = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        try:
            _write_all(file, line)
            os.fsync(file)
            try:
                os.link(beside, self.path)
            except (FileExistsError, FileNotFoundError):
                if os.fstat(file).st_nlink < 2:  # else it is ours: a network lost the answer
                    raise _taken(self.home, self.epoch) from None
        except BaseException:
            os.close(file)
            raise
        finally:
            beside.unlink(missing_ok=True)
        for left in self._folder.glob(".*"):  # of launches that died here, or were slower
            if left.name < f".{self.epoch + 1:06d}":
                left.unlink(missing_ok=True)
        sync_folder(self._folder)
        return file, len(line)

    def _beat(self) -> None:
        while not self._released.wait(self._every):
            try:
                if not self.held():
                    return
                os.utime(self._file)
            except OSError as error:  # one that is missed does no harm
                _log.debug("no heartbeat: %s", error)


def holder(home: Path) -> str | None:
    """The process that runs the study in ``home``, in words; None if none does."""
    newest = max(epochs(home), default=0)
    if not newest or _vacant(home, newest):
        return None
    seen = journal_file(home, newest).stat().st_mtime
    return f"{_holder(home, newest) or 'another process'}, last heartbeat {timestamp(seen)}"


def silent(home: Path) -> bool:
    """Whether a process holds the study in ``home`` and is as good as dead: the next takes over.

    That is decided by watching it for :data:`LAPSE` s. Here its heartbeat only looks that old; two
    machines' clocks may differ, so another machine's is watched for two beats as well.
    """
    newest = max(epochs(home), default=0)
    if not newest or _vacant(home, newest):
        return False
    seen, who = _mark(home, newest), _holder(home, newest)
    if abs(time.time() - seen[0] / 1e9) < LAPSE:
        return False
    if who is None or who.host != _host():
        time.sleep(2 * BEAT)
    return _mark(home, newest) == seen and not superseded(home, newest)


def check_vacant(home: Path) -> None:
    """Check that the lease of the study in ``home`` could be acquired, and acquire nothing.

    Raises:
        LeaseError: another process holds it.
    """
    newest = max(epochs(home), default=0)
    if newest:
        _await_vacancy(home, newest, BEAT, LAPSE)


def _await_vacancy(home: Path, epoch: int, beat: float, lapse: float) -> None:
    """Return once the holder of ``epoch`` has ended, or has sent no heartbeat for ``lapse`` s.

    Raises:
        LeaseError: it is alive, or another process was faster.
    """
    seen, until = _mark(home, epoch), time.monotonic() + lapse
    warn_at = time.monotonic() + 2 * beat
    while not _vacant(home, epoch):
        if _mark(home, epoch) != seen or superseded(home, epoch):
            if _vacant(home, epoch) and not superseded(home, epoch):
                return
            raise _taken(home, max(epochs(home)))
        now = time.monotonic()
        if now >= until:
            return
        if now >= warn_at:
            warn_at = until
            _log.warning(
                "%s holds the study and sends no heartbeat: taking over in %.0f s",
                _holder(home, epoch) or "another process",
                until - now,
            )
        time.sleep(min(0.1, beat / 4))


def _vacant(home: Path, epoch: int) -> bool:
    """Whether the launch of ``epoch`` is known to have ended."""
    line = last_line(journal_file(home, epoch))
    if line is not None and line.is_control("released"):
        return True
    who = _holder(home, epoch)
    return who is not None and who.dead


def _mark(home: Path, epoch: int) -> tuple[int, int]:
    # Opened anew each time: a network file system then looks up the current state.
    with journal_file(home, epoch).open("rb") as file:
        found = os.fstat(file.fileno())
    return found.st_mtime_ns, found.st_size


def _holder(home: Path, epoch: int) -> Holder | None:
    line = first_line(journal_file(home, epoch))
    if line is None:
        return None
    try:
        return Holder(**{field.name: line.data[field.name] for field in fields(Holder)})
    except KeyError:
        return None


def _taken(home: Path, epoch: int) -> LeaseError:
    return LeaseError(
        f"the study is being run by {_holder(home, epoch) or 'another process'}",
        where=str(home),
        remedy=f"wait for it, end it with `{command_line('stop', home)}`, or take over with "
        f"`{command_line('resume', home)} --take-over`: the other then changes nothing any more"
        if has_events(home)
        else "wait for it, or end that process: nothing is recorded yet",
    )


def _machine() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _started(pid: int) -> int | None:
    """When process ``pid`` started, in ticks; 0 if it has ended; None if it cannot be seen."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return 0 if fields[0] in "ZX" else int(fields[19])


def _host() -> str:
    return socket.gethostname()


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
