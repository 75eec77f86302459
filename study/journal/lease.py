"""The lease: one driver a study at a time.

To hold the lease is to have written the newest file of the study's journal. It is taken by putting
the next one in place, which the file system lets only one process do, and it is lost when somebody
else has done so. A holder shows that it is alive by touching its file; what a watcher goes by is
that the file changes, never what another machine's clock says.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
import uuid
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from study.journal.files import FOLDER, epochs, first_line, journal_file, last_line, superseded
from study.journal.lines import JournalError, control
from vae_core.errors import UserError

BEAT = 2.0
"""Seconds between a holder's signs of life."""
LAPSE = 30.0
"""Seconds without one after which the study is taken over."""

_log = logging.getLogger(__name__)


class LeaseError(UserError):
    """Another driver holds the study."""


class LeaseLostError(UserError):
    """Another driver has taken the study over: nothing this one does counts any more."""

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
        return f"process {self.pid} on {self.host} since {_when(self.since)}"

    @property
    def dead(self) -> bool:
        """Whether it surely is not running any more."""
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
        take_over: take it from whoever holds it.
        beat: seconds between signs of life.
        lapse: seconds without one after which a holder is taken for gone.

    Raises:
        LeaseError: somebody else holds it; says who, and since when.
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
                _sync(home)
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
            # Unless somebody has taken over, and has perhaps gone on from the end of it.
            if self.held():
                os.ftruncate(self._file, self.end)
                self._torn = False
            raise
        self._torn = False
        self.end += len(data)

    def held(self) -> bool:
        """Whether nobody has taken over; cheap."""
        return not superseded(self.home, self.epoch)

    def lost(self) -> LeaseLostError:
        """What to raise once it is not held."""
        newest = max(epochs(self.home), default=0)
        if newest <= self.epoch:
            return LeaseLostError("the study was removed while it ran", where=str(self.home))
        return LeaseLostError(
            f"the study was taken over by {_holder(self.home, newest) or 'another process'}",
            where=str(self.home),
            remedy="this run has ended and changes nothing any more; the other one goes on",
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
            # The next driver finds that this process is gone, or silent.
            _log.debug("not released: %s", error)
        finally:
            os.close(self._file)

    def _take(self) -> tuple[int, int]:
        """Put the next file in place; its descriptor, and its length."""
        me = Holder(os.getpid(), _started(os.getpid()) or 0, _host(), _machine(), time.time())
        line = control(self.epoch, me.since, "lease", asdict(me))
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
        for left in self._folder.glob(".*"):  # by launches that died here, or were slower
            if left.name < f".{self.epoch + 1:06d}":
                left.unlink(missing_ok=True)
        _sync(self._folder)
        return file, len(line)

    def _beat(self) -> None:
        while not self._released.wait(self._every):
            try:
                if not self.held():
                    return
                os.utime(self._file)
            except OSError as error:  # one that is missed does no harm
                _log.debug("no sign of life: %s", error)


def holder(home: Path) -> str | None:
    """Who is running the study in ``home``, in words; None if nobody is."""
    newest = max(epochs(home), default=0)
    if not newest or _vacant(home, newest):
        return None
    seen = journal_file(home, newest).stat().st_mtime
    return f"{_holder(home, newest) or 'another process'}, last sign of life {_when(seen)}"


def _await_vacancy(home: Path, epoch: int, beat: float, lapse: float) -> None:
    """Return once the holder of ``epoch`` is gone, or has given no sign of life for ``lapse`` s.

    Raises:
        LeaseError: it is alive, or somebody else was faster.
    """
    seen, until = _mark(home, epoch), time.monotonic() + lapse
    told = time.monotonic() + 2 * beat
    while not _vacant(home, epoch):
        if _mark(home, epoch) != seen or superseded(home, epoch):
            if _vacant(home, epoch) and not superseded(home, epoch):
                return
            raise _taken(home, max(epochs(home)))
        now = time.monotonic()
        if now >= until:
            return
        if now >= told:
            told = until
            _log.warning(
                "%s holds the study and gives no sign of life: taking over in %.0f s",
                _holder(home, epoch) or "another process",
                until - now,
            )
        time.sleep(min(0.1, beat / 4))


def _vacant(home: Path, epoch: int) -> bool:
    """Whether the launch of ``epoch`` has surely ended."""
    line = last_line(journal_file(home, epoch))
    if line is not None and line.control("released"):
        return True
    who = _holder(home, epoch)
    return who is not None and who.dead


def _mark(home: Path, epoch: int) -> tuple[int, int]:
    # Opened anew each time: a network file system then asks for what is really there.
    with journal_file(home, epoch).open("rb") as file:
        found = os.fstat(file.fileno())
    return found.st_mtime_ns, found.st_size


def _holder(home: Path, epoch: int) -> Holder | None:
    line = first_line(journal_file(home, epoch))
    try:
        return None if line is None else Holder(**line.event.data)
    except TypeError:
        return None


def _taken(home: Path, epoch: int) -> LeaseError:
    return LeaseError(
        f"the study is being run by {_holder(home, epoch) or 'another process'}",
        where=str(home),
        remedy=f"wait for it, end it with `study stop {home.name}`, or take over with "
        "--take-over: the other then changes nothing any more",
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


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, tz=UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def _sync(folder: Path) -> None:
    """Make a folder's entries durable."""
    file = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
