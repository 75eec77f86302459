"""The engine as Ray sees it: a class that is light to import.

A process that receives an actor's handle imports the actor's class, the relay's light process
included. The engine itself, and torch with it, is imported only where it runs.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from typing import Any

from study.engine.config import EngineConfig


class EngineActor:
    """Passes every call on to :class:`study.engine.engine.Engine`."""

    def __init__(self, config: EngineConfig) -> None:
        from study.engine.engine import Engine

        self._engine = Engine(config)

    def time_widths(
        self, spec: Mapping[str, Any], data: Mapping[str, Any], widths: Sequence[int]
    ) -> dict[int, float]:
        """See :meth:`Engine.time_widths`."""
        return self._engine.time_widths(spec, data, widths)

    def prepare(self, data: Mapping[str, Any], validation: float, width: int) -> dict[str, Any]:
        """See :meth:`Engine.prepare`; adds the ``node`` it is on."""
        import ray

        node = ray.get_runtime_context().get_node_id()
        return {**self._engine.prepare(data, validation, width), "node": node}

    def admit(self, request: dict[str, Any]) -> None:
        """See :meth:`Engine.admit`."""
        self._engine.admit(request)

    def reports(self, trial: str, after: int) -> list[dict[str, Any]]:
        """See :meth:`Engine.reports`."""
        return self._engine.reports(trial, after)

    def release(self, trial: str) -> None:
        """See :meth:`Engine.release`."""
        self._engine.release(trial)

    def occupancy(self) -> tuple[int, list[str]]:
        """See :meth:`Engine.occupancy`."""
        return self._engine.occupancy()

    def suspend(self) -> dict[str, float]:
        """See :meth:`Engine.suspend`."""
        return self._engine.suspend()

    def serve(self) -> None:
        """See :meth:`Engine.serve`; an engine that fails takes its process down."""
        import ray

        try:
            self._engine.serve()
        except Exception:
            traceback.print_exc()
            ray.actor.exit_actor()

    def stop(self) -> dict[str, Any]:
        """See :meth:`Engine.stop`."""
        return self._engine.stop()
