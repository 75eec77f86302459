"""The lease: one driver a study at a time."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from vae_core.errors import UserError


class LeaseError(UserError):
    """Another driver holds the study."""


class Lease:
    """Exclusive hold on a study's home, given up by the operating system if the holder dies.

    Raises:
        LeaseError: somebody else holds it; says who, and since when.
    """

    def __init__(self, home: Path) -> None:
        self._path = home / "lease.json"
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            who = os.pread(self._file, 4096, 0).decode(errors="replace")
            os.close(self._file)
            raise LeaseError(
                f"the study is being run by {_describe(who)}",
                where=str(home),
                remedy="wait for it, or stop that process and launch again: nothing is lost",
            ) from error
        who = json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": time.time()})
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, who.encode(), 0)

    def release(self) -> None:
        """Let the next driver in."""
        os.close(self._file)

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


def holder(home: Path) -> str | None:
    """Who is running the study in ``home``, in words; None if nobody is."""
    path = home / "lease.json"
    if not path.exists():
        return None
    file = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return _describe(os.pread(file, 4096, 0).decode(errors="replace"))
    finally:
        os.close(file)
    return None


def _describe(record: str) -> str:
    try:
        who = json.loads(record)
        since = datetime.fromtimestamp(who["since"], tz=UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        return f"process {who['pid']} on {who['host']} since {since}"
    except (ValueError, KeyError):
        return "another process"
