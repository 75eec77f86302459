"""Marks: empty files of random names, which show that two processes see one folder.

A name that was never looked up before is in no cache of a network file system.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from study.journal.heartbeats import FOLDER

SUFFIX = ".mark"


def leave_mark(home: Path) -> str:
    """Make a mark in the study's ``home``; return its name.

    Raises:
        OSError: the home is not there, or cannot be written.
    """
    name = secrets.token_hex(16)
    (home / FOLDER).mkdir(exist_ok=True)
    (home / FOLDER / f"{name}{SUFFIX}").touch(exist_ok=False)
    return name


def sees_mark(home: Path, name: str) -> bool:
    """Whether the mark ``name`` is in ``home``.

    Raises:
        OSError: the home cannot be read.
    """
    try:
        # Opening the folder makes a network file system ask anew what is in it.
        os.close(os.open(home / FOLDER, os.O_RDONLY))
        os.stat(home / FOLDER / f"{name}{SUFFIX}")
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True
