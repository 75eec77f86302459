"""Answers that fail one at a time: the rest of a report does not depend on the one that raises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Failure:
    """A part of a report that could not be computed."""

    title: str
    error: str
    """The exception's class and message."""

    def __str__(self) -> str:
        return f"{self.title} could not be computed: {self.error}"


class Attempts:
    """Computes the parts of a report and records which of them raised."""

    def __init__(self) -> None:
        self.failures: list[Failure] = []

    def __call__(self, title: str, make: Callable[[], T], otherwise: T) -> T:
        """What ``make`` returns, or ``otherwise`` if it raises."""
        try:
            return make()
        except Exception as error:
            # Whatever the cause, the reader sees it in place of this part.
            self.failures.append(Failure(title, f"{type(error).__name__}: {error}"))
            return otherwise
