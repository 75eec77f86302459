"""Errors for the user: what is wrong, where, and the remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar


class UserError(Exception):
    """An error that the user can correct.

    ``what`` names the fault with the offending value, ``where`` the file, key or argument it
    was found in, ``remedy`` the next thing to do. ``str()`` joins the three.
    """

    exit_code: ClassVar[int] = 2
    """Exit code of a command: 2 for wrong use, 1 for a failure while it ran."""

    def __init__(self, what: str, *, where: str = "", remedy: str = "") -> None:
        super().__init__(what, where, remedy)
        self.what, self.where, self.remedy = what, where, remedy

    def _render_traceback_(self) -> list[str]:
        """What IPython shows in place of a traceback: the user can correct it without one."""
        return [f"{type(self).__name__}: {self}"]

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text}\n  {self.remedy}" if self.remedy else text

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions with keyword-only arguments do not pickle by default, and engines raise these.
        return _rebuild, (type(self), self.what, self.where, self.remedy)


class StudyWarning(UserWarning):
    """Something of a study that its reader should know before it runs, in a sentence."""


class DataError(UserError):
    """A dataset that is missing, damaged, or not what its settings say."""


class ContractError(UserError):
    """A model, balancer or data source that breaks the contract of its kind."""


def _rebuild(kind: type[UserError], what: str, where: str, remedy: str) -> UserError:
    return kind(what, where=where, remedy=remedy)


def nearest(name: str, known: Iterable[str]) -> str:
    """Advice for an unknown ``name``: the closest of ``known``, then all of them."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean '{close[0]}'? " if close else ""
    return f"{hint}known: {', '.join(names)}" if names else f"{hint}nothing is known here"
