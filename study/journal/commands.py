"""Commands to a study from another terminal: one small file each, taken by the study's driver.

Sending a command needs no lease, and the driver executes it whenever it runs: within seconds, or at
its next launch. A command is plain data. A file that holds none (torn, or from elsewhere) is
ignored.
"""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path

from study.journal.home import COMMANDS, HomeError
from vae_core.atomic import atomic_write

Command = dict[str, str]
"""``order``: "stop" (the study; with ``arm`` or ``trial``, that) or "retry" (with ``trial``).

That key, and the name of the folder, are as they were first."""

STOP: Command = {"order": "stop"}
"""Ends the launch that runs, as a Ctrl-C does; the next one drops it."""
_NAME = re.compile(r"\d{19}-\d+\.json")
_FORMS = {
    "stop": ({"order"}, {"order", "arm"}, {"order", "trial"}),
    "retry": ({"order", "trial"},),
}


def send(home: Path, command: Command) -> Path:
    """Leave ``command`` for the driver of the study in ``home``; return its file.

    The driver removes the file once the command is executed.

    Raises:
        HomeError: the home cannot be written.
        ValueError: it is no command.
    """
    if not _is_command(command):
        raise ValueError(f"{command} is no command")
    folder = home / COMMANDS
    # After those that wait, even if the clock has been set back since.
    last = max((_number(path) for path, _ in pending(home)), default=0)
    path = folder / f"{max(time.time_ns(), last + 1)}-{os.getpid()}.json"
    try:
        folder.mkdir(exist_ok=True)
        with atomic_write(path) as file:
            file.write(json.dumps(command).encode())
    except OSError as error:
        raise HomeError(
            f"the command cannot be written here: {error.strerror}",
            where=str(folder),
            remedy="free some space there; or, if the study is another user's, ask them",
        ) from error
    return path


def pending(home: Path) -> list[tuple[Path, Command]]:
    """Commands that are not executed yet, the earliest first, each with its file.

    Executing one ends with removing its file.
    """
    found = []
    for path in sorted((home / COMMANDS).glob("*.json")):
        command = _read(path) if _NAME.fullmatch(path.name) else None
        if command is not None:
            found.append((path, command))
    return found


def drop_stops(home: Path) -> None:
    """Remove every pending :data:`STOP`: the driver that it was meant for has ended."""
    for path, command in pending(home):
        if command == STOP:
            path.unlink(missing_ok=True)


def sent_at(path: Path) -> float:
    """When the command in ``path`` was sent: seconds since the Unix epoch."""
    return _number(path) / 1e9


def describe(command: Command) -> str:
    """A command in words: ``stop trial random.search.r0.0001``."""
    of = [f"{kind} {command[kind]}" for kind in ("arm", "trial") if kind in command]
    return " ".join([command["order"], *(of or ["the study"])])


def _number(path: Path) -> int:
    """Nanoseconds since the Unix epoch, by which commands are ordered."""
    return int(path.name.partition("-")[0])


def _read(path: Path) -> Command | None:
    if path.is_symlink() or not path.is_file():
        return None
    try:
        command = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):  # executed meanwhile; or no JSON
        return None
    return command if _is_command(command) else None


def _is_command(found: object) -> bool:
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        return False
    return set(found) in _FORMS.get(found.get("order", ""), ())
