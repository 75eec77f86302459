"""The fence: an engine whose driver lost the study writes nothing more into it."""

from __future__ import annotations

from pathlib import Path

from study.journal import superseded


class FencedError(Exception):
    """The study has been taken over by another driver."""


class Fence:
    """Checks whether an engine of lease epoch ``epoch`` may still write into ``home``.

    A takeover is visible in the home itself, on every node, even where the former driver has not
    noticed it. A home that was never launched, such as one made to verify a trial, has no fence.
    """

    def __init__(self, home: Path, epoch: int) -> None:
        self._home, self._epoch = home, epoch
        self._launched = (home / "journal").is_dir()

    def check(self) -> None:
        """Return if the engine may write.

        Raises:
            FencedError: it may not.
        """
        if self._launched and superseded(self._home, self._epoch):
            raise FencedError(f"{self._home} was taken over")
