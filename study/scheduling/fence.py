"""The fence: what keeps an engine of a driver that lost its study from writing into it."""

from __future__ import annotations

from pathlib import Path


class FencedError(Exception):
    """The study has been taken over by another driver."""


class Fence:
    """Tells an engine of lease epoch ``epoch`` whether it may still write into ``home``.

    A takeover is a file of a higher epoch in the journal's folder, so it holds on every node that
    sees the home, whether or not the former driver has heard.
    """

    def __init__(self, home: Path, epoch: int) -> None:
        self._journal, self._epoch = home / "journal", epoch

    def check(self) -> None:
        """Return if the study is still the engine's own.

        Raises:
            FencedError: it is not.
        """
        if not self._journal.is_dir():
            return
        for path in self._journal.glob("*.log"):
            if path.stem.isdecimal() and int(path.stem) > self._epoch:
                raise FencedError(f"taken over: {path}")
