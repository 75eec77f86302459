"""The engine as Ray sees it: a class that is light to import.

Whoever is handed an actor's handle imports the actor's class, the pool and every trial's thin
process included. The engine itself, and torch with it, is imported only where it runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class EngineConfig:
    """What an engine is made with."""

    name: str
    home: str
    """The study's folder, on storage that every node sees."""
    device: str
    width: int
    """K, the rows of each of its banks, and the trials it trains at once."""
    evaluation_images: int
    pictures: int


class EngineActor:
    """Passes every call on to :class:`study.scheduling.engine.Engine`."""

    def __init__(self, config: EngineConfig) -> None:
        from study.scheduling.engine import Engine

        self._engine = Engine(config)

    def prepare(self, data: Mapping[str, Any], validation: float) -> dict[str, Any]:
        """See :meth:`Engine.prepare`."""
        return self._engine.prepare(data, validation)

    def admit(self, request: dict[str, Any]) -> None:
        """See :meth:`Engine.admit`."""
        self._engine.admit(request)

    def reports(self, trial: str, after: int) -> list[dict[str, Any]]:
        """See :meth:`Engine.reports`."""
        return self._engine.reports(trial, after)

    def release(self, trial: str) -> None:
        """See :meth:`Engine.release`."""
        self._engine.release(trial)

    def serve(self) -> None:
        """See :meth:`Engine.serve`."""
        self._engine.serve()

    def stop(self) -> dict[str, float]:
        """See :meth:`Engine.stop`."""
        return self._engine.stop()
