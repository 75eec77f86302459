"""The engine as Ray sees it: a class that is light to import.

A process that receives an actor's handle imports the actor's class, the relay's light process
included. The engine itself, and torch with it, is imported only where it runs.
"""

from __future__ import annotations

import os
import socket
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from study.engine.config import EngineConfig
from study.engine.home import HomeFiles, HomeLostError, in_parts, meet
from study.engine.parts import check_parts


class EngineActor:
    """Passes every call on to :class:`study.engine.engine.Engine`.

    Raises:
        Exception: what the study trains with is not here as the driver has it; see `check_parts`.
    """

    def __init__(self, config: EngineConfig) -> None:
        check_parts(config.parts)
        from study.engine.engine import Engine

        self._engine = Engine(config)
        self._met = False

    def time_widths(
        self, spec: Mapping[str, Any], data: Mapping[str, Any], widths: Sequence[int], relay: Any
    ) -> dict[int, float]:
        """See :meth:`Engine.time_widths`."""
        self._meet(relay)
        return self._engine.time_widths(spec, data, widths)

    def prepare(
        self, data: Mapping[str, Any], validation: float, width: int, relay: Any
    ) -> dict[str, Any]:
        """See :meth:`Engine.prepare`; adds the ``node`` and ``host`` it is on, and ``served``.

        That is whether it does not see the study's home, and has it through the ``relay``.
        """
        import ray

        self._meet(relay)
        return {
            **self._engine.prepare(data, validation, width),
            "node": ray.get_runtime_context().get_node_id(),
            "host": socket.gethostname(),
            "served": not isinstance(self._engine.home, HomeFiles),
        }

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

    def _meet(self, relay: Any) -> None:
        """Find the study's home, once."""
        if not self._met:
            self._engine.home = meet(self._engine.config, _through(relay), _store())
            self._met = True


def _through(relay: Any) -> Any:
    """Calls of the home on the driver's node; they wait while the relay is unreachable."""
    import ray
    from ray.exceptions import RayActorError, RayTaskError

    def call(verb: str, *arguments: Any) -> Any:
        plain, parts = in_parts(arguments)
        try:
            return ray.get(relay.home.remote(verb, plain, *parts))
        except RayTaskError as error:
            raise error.cause from error
        except RayActorError as error:
            raise HomeLostError("the driver has ended") from error

    return call


def _store() -> Path:
    """A folder of this node for prepared images of homes that it does not see.

    In that of its Ray: the same for its engines, and no other user's.
    """
    import ray

    context = ray.get_runtime_context()
    return Path(context.get_temp_dir(), context.get_session_name(), "study-data", str(os.getuid()))
