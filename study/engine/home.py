"""What an engine reads and writes in its study's home, on a node that sees the home or not.

:class:`HomeFiles` does so in the file system. An engine on a node that does not see the home has a
:class:`ServedHome`, whose every call is done by the :class:`HomeFiles` of the driver's node. Which
of the two is never guessed from a path: a node may have a folder of that name of its own (a stale
copy, or where a mount fell off).
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from study.engine import checkpoints
from study.engine.config import EngineConfig
from study.journal import superseded, trial_folder
from study.journal.files import FOLDER
from study.journal.heartbeats import heartbeat_file
from study.journal.home import safe_name
from study.journal.marks import leave_mark, sees_mark
from vae_core.atomic import atomic_write

if TYPE_CHECKING:
    from vae_core.data import PreparedData

PART = 32 << 20
"""Bytes of a file that are sent at a time."""

INLINE, LARGEST = 64 << 10, 1 << 20
"""Bytes of an argument that Ray sends within a call; and of what is worth dividing into such."""

Call = Callable[..., Any]
"""Calls a method of the driver's :class:`HomeFiles`, by its name and arguments."""


class FencedError(Exception):
    """The study has been taken over by another driver."""


class HomeLostError(Exception):
    """The study's home is not seen from this node any more."""


class Home(Protocol):
    """What an engine reads and writes; every write is fenced.

    All raise :class:`FencedError` where another driver has taken the study over,
    :class:`HomeLostError` where the home is gone, and OSError where its storage fails.
    """

    def checkpoint(self, trial: str, skip: int = 0) -> tuple[int, bytes] | None:
        """The whole checkpoint of most steps but ``skip`` of them: its steps and its payload."""

    def save(self, trial: str, steps: int, payload: bytes) -> None:
        """Write a checkpoint (see :func:`study.engine.checkpoints.save`)."""

    def write(self, trial: str, file: str, content: bytes) -> str:
        """Write a file into a trial's folder; return its path in the home."""

    def beat(self, engine: str, account: Mapping[str, Any]) -> None:
        """Rewrite an engine's heartbeat file."""

    def data(self, prepared: PreparedData, weights: str | None) -> tuple[PreparedData, str | None]:
        """The images, and the file of the Inception network's weights, as files of this node."""

    def share(self, prepared: PreparedData) -> bool:
        """Keep what was computed beside the images for other nodes.

        False: another node was faster, and its result, which counts, has replaced the one here.
        """


class HomeFiles:
    """The home in the file system.

    A home that was never launched, such as one made to verify a trial, has no fence.

    Args:
        home: the study's folder.
        epoch: the lease epoch of the engine's driver.
        keep: checkpoints that stay while a trial runs: ``all``, else the last two.
        mark: of the launch (see :mod:`study.journal.marks`); empty: the folder is the engine's own.
    """

    def __init__(self, home: Path, epoch: int, keep: str, mark: str = "") -> None:
        self._home, self._epoch, self._keep, self._mark = home, epoch, keep, mark
        self._launched = (home / FOLDER).is_dir()

    def check(self) -> None:
        """Return if the engine may write: a takeover is visible in the home itself, on every node.

        Raises:
            FencedError: another driver has taken the study over.
            HomeLostError: the home is gone, or cannot be read.
        """
        try:
            lost = bool(self._mark) and not sees_mark(self._home, self._mark)
            removed = lost and not (self._home / FOLDER).is_dir()
            fenced = self._launched and superseded(self._home, self._epoch)
        except OSError as error:
            raise HomeLostError(f"{self._home} cannot be read: {error.strerror}") from error
        if fenced and not removed:
            raise FencedError(f"{self._home} was taken over")
        if lost:
            raise HomeLostError(f"{self._home} is not the studies' home any more")

    def checkpoint(self, trial: str, skip: int = 0) -> tuple[int, bytes] | None:
        """See :meth:`Home.checkpoint`."""
        self.check()  # else a trial would begin anew where a mount fell off
        found = checkpoints.payloads(trial_folder(self._home, trial))
        return next((each for number, each in enumerate(found) if number == skip), None)

    def save(self, trial: str, steps: int, payload: bytes) -> None:
        """See :meth:`Home.save`."""
        folder = trial_folder(self._home, trial)
        with self._fenced():
            checkpoints.write(folder, steps, payload, epoch=self._epoch, keep=self._keep)

    def write(self, trial: str, file: str, content: bytes) -> str:
        """See :meth:`Home.write`."""
        path = trial_folder(self._home, trial) / safe_name(file, "a file")
        with self._fenced(), atomic_write(path, alone=False) as out:  # as checkpoints are
            out.write(content)
        return str(path.relative_to(self._home))

    def beat(self, engine: str, account: Mapping[str, Any]) -> None:
        """See :meth:`Home.beat`."""
        path = heartbeat_file(self._home, safe_name(engine, "an engine"))
        with self._fenced():
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(path) as file:
                file.write(json.dumps(account).encode())

    def data(self, prepared: PreparedData, weights: str | None) -> tuple[PreparedData, str | None]:
        """See :meth:`Home.data`."""
        return prepared, weights

    def share(self, prepared: PreparedData) -> bool:
        """See :meth:`Home.share`: other nodes see it already."""
        return True

    def sees(self, mark: str) -> bool:
        """Whether an engine's mark is here too."""
        return sees_mark(self._home, mark)

    def kept(self, beside: str) -> list[str]:
        """What was computed for the dataset whose file is ``beside``: paths in the data store."""
        path = self._of_store(beside)
        return [str(each) for each in sorted(path.parent.glob("*.kept"))]

    def part(self, path: str, offset: int) -> bytes:
        """At most :data:`PART` bytes of a file of the data store."""
        with self._of_store(path).open("rb") as file:
            file.seek(offset)
            return file.read(PART)

    def keep(self, path: str, content: bytes) -> bool:
        """Write a file of the data store if there is none; whether it has this content now."""
        target = self._of_store(path)
        with self._fenced(), tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as file:
            try:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
                with suppress(FileExistsError):
                    os.link(file.name, target)
            finally:
                os.unlink(file.name)
        return target.read_bytes() == content

    def _of_store(self, path: str) -> Path:
        """``path``, if it is of a file in the folder of prepared images."""
        found = Path(os.path.abspath(path))
        if self._home.parent / "data" not in found.parents:
            raise PermissionError(f"{path} is not in the studies' data store")
        return found

    @contextmanager
    def _fenced(self) -> Iterator[None]:
        """A block that writes; an error in it is blamed on a home that is gone, if it is."""
        self.check()
        try:
            yield
        except OSError:
            self.check()
            raise


class ServedHome:
    """The home through the driver's node. Prepared images are copied once to a folder here.

    Args:
        call: calls the driver's :class:`HomeFiles`; waits while it is unreachable.
        store: the folder for prepared images, shared by the engines of this node.
    """

    def __init__(self, call: Call, store: Path) -> None:
        self._call, self._store = call, store
        self._fetched: set[str] = set()

    def checkpoint(self, trial: str, skip: int = 0) -> tuple[int, bytes] | None:
        """See :meth:`Home.checkpoint`."""
        found: tuple[int, bytes] | None = self._call("checkpoint", trial, skip)
        return found

    def save(self, trial: str, steps: int, payload: bytes) -> None:
        """See :meth:`Home.save`."""
        self._call("save", trial, steps, payload)

    def write(self, trial: str, file: str, content: bytes) -> str:
        """See :meth:`Home.write`."""
        return str(self._call("write", trial, file, content))

    def beat(self, engine: str, account: Mapping[str, Any]) -> None:
        """See :meth:`Home.beat`."""
        self._call("beat", engine, dict(account))

    def data(self, prepared: PreparedData, weights: str | None) -> tuple[PreparedData, str | None]:
        """See :meth:`Home.data`; a copy that another engine made is verified as one's own."""
        folder = self._store / "-".join(sha[:12] for sha in prepared.sha256.values())
        folder.mkdir(parents=True, exist_ok=True)
        files = {split: self._copy(path, folder) for split, path in prepared.files.items()}
        for path in self._call("kept", prepared.files["train"]):
            self._fetched.add(Path(self._copy(path, folder)).name)
        self._origin = str(Path(prepared.files["train"]).parent)
        return replace(prepared, files=files), weights and self._copy(weights, folder)

    def share(self, prepared: PreparedData) -> bool:
        """See :meth:`Home.share`."""
        mine = True
        for path in sorted(Path(prepared.files["train"]).parent.glob("*.kept")):
            if path.name not in self._fetched:
                there = f"{self._origin}/{path.name}"
                if not self._call("keep", there, path.read_bytes()):
                    path.unlink()
                    self._copy(there, path.parent)
                    mine = False
                self._fetched.add(path.name)
        return mine

    def _copy(self, path: str, folder: Path) -> str:
        """The driver's file ``path`` in ``folder``, copied whole if it is not there."""
        target = folder / Path(path).name
        if not target.exists():
            part = self._call("part", path, 0)  # before a file is made for it
            with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
                try:
                    while part:
                        file.write(part)
                        part = self._call("part", path, file.tell())
                    file.close()
                    os.replace(file.name, target)
                except BaseException:
                    os.unlink(file.name)
                    raise
        return str(target)


def in_parts(arguments: Sequence[Any]) -> tuple[tuple[Any, ...], list[bytes]]:
    """A call's arguments for Ray: the plain ones, and a checkpoint as parts to be joined again.

    An argument of more than 100 KB goes through Ray's object store, on both nodes: 20 ms for
    250 KB, where as many bytes in smaller arguments are in the call itself and take 4 (Ray 2.60).
    From about a megabyte on neither is faster.
    """
    *others, last = arguments or ("",)
    if not isinstance(last, bytes) or not INLINE < len(last) <= LARGEST:
        return tuple(arguments), []
    return tuple(others), [last[i : i + INLINE] for i in range(0, len(last), INLINE)]


def meet(config: EngineConfig, call: Call, store: Path) -> Home:
    """The home of an engine: in the file system if the driver and this node see the same folder.

    Each must find there what only the other, and only this launch, wrote.
    """
    home = Path(config.home)
    with suppress(OSError):  # it may not be there at all, or read-only
        if sees_mark(home, config.mark) and call("sees", leave_mark(home)):
            return HomeFiles(home, config.epoch, config.keep, config.mark)
    return ServedHome(call, store)
