"""Where studies live: one folder each, under the studies' home."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from study.journal.files import FOLDER, epochs, has_events, launch_command, readable
from study.journal.lines import JournalError
from vae_core.errors import UserError, nearest

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
NAME_RULE = "use letters, digits, - and _, at most 100, and begin with a letter or a digit"
_FILE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}")
TRIALS = "trials"
"""The folder of trials in a study's own."""
COMMANDS = "orders"
"""The folder of commands in a study's own."""
_SPEC = "spec.yaml"
RESERVED = ("data", "mlartifacts")
"""Folders beside the studies in their home."""


class HomeError(UserError):
    """A study's home that is missing, misnamed or cannot be written."""


def safe_name(name: str, kind: str) -> str:
    """``name`` itself, if it is safe as the name of a file: a journal may come from elsewhere.

    Args:
        name: as it was read.
        kind: what it names, for the error.

    Raises:
        HomeError: it is not made of letters, digits, '.', '_' and '-', or begins with a dot.
    """
    if not _FILE.fullmatch(str(name)):  # it may not even be text
        raise HomeError(
            f"'{name}' cannot be the name of {kind}",
            remedy="the study's files were changed from outside: restore them from a copy",
        )
    return str(name)


def trial_folder(study: Path, trial: str) -> Path:
    """Where trial ``trial`` of the study in folder ``study`` keeps its files.

    Raises:
        HomeError: the name is not safe as a file's.
    """
    return study / TRIALS / safe_name(trial, "a trial")


def studies_home(given: Path | str | None = None) -> Path:
    """The studies' home: ``given``, else $STUDY_HOME, else ``./studies``."""
    return Path(given or os.environ.get("STUDY_HOME") or "studies").expanduser().resolve()


def study_names(home: Path) -> list[str]:
    """The names of what may be studies in ``home``, those that may not be read among them."""
    try:
        with readable(home):
            found = sorted(os.listdir(home))
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [
        name
        for name in found
        if NAME.fullmatch(name) and name not in RESERVED and _may_be(home / name)
    ]


def _may_be(study: Path) -> bool:
    try:
        return _exists(study / FOLDER)
    except JournalError:
        return True


def _exists(path: Path) -> bool:
    try:
        with readable(path):
            path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def command_line(verb: str, study: Path) -> str:
    """``study VERB NAME`` for the study in folder ``study``.

    With ``--home`` unless the default is where that is, and to resume on the cluster that the last
    launch named: it is to work where it is printed.
    """
    on = _on(study) if verb == "resume" else ""
    return f"study {verb} {study.name}{_at(study.parent)}{on}"


def _at(studies: Path) -> str:
    return "" if studies == studies_home() else f" --home {shlex.quote(str(studies))}"


def _on(study: Path) -> str:
    words = list[str]()
    with suppress(OSError, UserError):  # a remedy is given in whatever state the folder is
        words = [part for word in launch_command(study) for part in word.split("=", 1)]
    given = dict(pairwise(words)).get("--address")
    return "" if given is None else f" --address {shlex.quote(given)}"


@dataclass(frozen=True)
class StudyHome:
    """The folder of one study, and the names of what is in it."""

    studies: Path
    name: str

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name) or self.name in RESERVED:
            raise HomeError(
                f"'{self.name}' cannot be a study's name",
                remedy=f"{NAME_RULE}; {' and '.join(RESERVED)} are taken",
            )

    @property
    def path(self) -> Path:
        """The study's own folder."""
        return self.studies / self.name

    @property
    def journal(self) -> Path:
        """The journal's folder: one file a launch."""
        return self.path / FOLDER

    @property
    def spec(self) -> Path:
        """A copy of the spec for people: the study's own is in its journal."""
        return self.path / _SPEC

    @property
    def report(self) -> Path:
        """The folder of the report and its figures."""
        return self.path / "report"

    @property
    def figures(self) -> Path:
        """The folder of the report's figures and their data."""
        return self.report / "figures"

    @property
    def page(self) -> Path:
        """The report as an HTML page."""
        return self.report / "report.html"

    @property
    def data(self) -> Path:
        """Prepared images, shared by all studies."""
        return self.studies / "data"

    def trial(self, name: str) -> Path:
        """A trial's folder: checkpoints while it trains, a confirm run's weights and pictures."""
        return trial_folder(self.path, name)

    def artifact(self, relative: str) -> Path | None:
        """The file at a path that a journal names; None where it is gone, or outside this home."""
        file = (self.path / relative).resolve()
        return file if file.is_relative_to(self.path.resolve()) and file.is_file() else None

    def command(self, verb: str) -> str:
        """A command line about the study (:func:`command_line`)."""
        return command_line(verb, self.path)

    def home_command(self, verb: str) -> str:
        """A command line about all studies of its home."""
        return f"study {verb}{_at(self.studies)}"

    @property
    def first_screen(self) -> Path:
        """What the report's first screen says, as JSON."""
        return self.report / "first_screen.json"

    def make(self) -> None:
        """Create the folder.

        Raises:
            HomeError: it cannot be written, or holds files and is no study's.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if not epochs(self.path) and (others := self._others()):
                raise HomeError(
                    f"holds files ('{others[0]}') and is no study's folder",
                    where=str(self.path),
                    remedy="give the study another name, or another folder for studies with "
                    "--home or STUDY_HOME",
                )
            probe = self.path / ".probe"
            probe.touch()
            probe.unlink(missing_ok=True)  # another launch may try the same at this moment
        except OSError as error:
            raise HomeError(
                f"cannot write here: {error.strerror}",
                where=str(self.path),
                remedy="give a folder you may write to with --home or STUDY_HOME",
            ) from error

    def unmake(self) -> None:
        """Remove what a launch has made that recorded nothing; and the folder, if that was all."""
        self.spec.unlink(missing_ok=True)
        for name in (COMMANDS, FOLDER):  # the folder is a study's until the last is gone
            shutil.rmtree(self.path / name, ignore_errors=True)
        with suppress(OSError):
            self.path.rmdir()

    def _others(self) -> list[str]:
        """What is in a folder without launches and is not a study's; hidden files aside."""
        own = (FOLDER, COMMANDS)
        return sorted(name for name in os.listdir(self.path) if name[0] != "." and name not in own)

    def existing(self) -> StudyHome:
        """Return this home, if a study is in it.

        Raises:
            HomeError: no study of that name.
            JournalError: it may not be looked at.
        """
        if not _exists(self.journal):
            raise HomeError(
                f"no study '{self.name}'",
                where=str(self.studies),
                remedy=nearest(self.name, study_names(self.studies)),
            )
        return self

    def recorded(self) -> StudyHome:
        """Return this home, if a study is in it that has records.

        Raises:
            HomeError: no study of that name, or none that has begun.
        """
        self.existing()
        if not has_events(self.path):
            raise HomeError(
                f"study '{self.name}' has no records: its launch failed before anything was "
                "recorded",
                where=str(self.path),
                remedy="launch it again, from its file",
            )
        return self
