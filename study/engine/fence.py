"""The fence: what keeps an engine of a driver that lost its study from writing into it."""

from __future__ import annotations

from pathlib import Path

from study.journal import superseded


class FencedError(Exception):
    """The study has been taken over by another driver."""


class Fence:
    """Tells an engine of lease epoch ``epoch`` whether it may still write into ``home``.

    A takeover shows in the home itself, on every node that sees it, whether or not the former
    driver has heard. A home that never was launched, as one made to verify a trial, has no fence.
    """

    def __init__(self, home: Path, epoch: int) -> None:
        self._home, self._epoch = home, epoch
        self._launched = (home / "journal").is_dir()

    def check(self) -> None:
        """Return if the study is still the engine's own.

        Raises:
            FencedError: it is not.
        """
        if self._launched and superseded(self._home, self._epoch):
            raise FencedError(f"{self._home} was taken over")
