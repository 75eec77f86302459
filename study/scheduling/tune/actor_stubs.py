"""Actor stubs: Tune's actors without a process each; their calls go to the relay.

An actor for each trial would be a process of 116 MB that computes nothing and needs two seconds of
a core to start. Tune requests its actors' resources from a resource manager (an interface of
Ray's); ours grants each trial a stub.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ray
from ray.air.execution import AcquiredResources, ResourceManager, ResourceRequest


@dataclass(frozen=True)
class _Call:
    """One method of a stub, called as a method of an actor's handle."""

    remote: Callable[..., Any]


class ActorStub:
    """Stands for a trial's actor in Tune.

    Args:
        relay: the relay's handle.
        config: the trial's, as the searcher gave it: ``request`` as JSON.
        nothing: a reference to an empty dict, Tune's default for missing results.
    """

    def __init__(self, relay: Any, config: dict[str, Any], nothing: Any) -> None:
        request = json.loads(config["request"])
        self.train = _Call(lambda: relay.follow.remote(request))
        self.stop = _Call(lambda: relay.release.remote(request["trial"]))
        self.__ray_ready__ = _Call(lambda: ray.put(None))
        self.get_auto_filled_metrics = _Call(lambda **_: nothing)


@dataclass
class _Granted(AcquiredResources):
    """Resources of which Tune makes a stub."""

    relay: Any
    nothing: Any

    def _annotate_remote_entity(self, entity: Any, bundle: Any, bundle_index: int) -> Any:
        return _Call(lambda config, **_: ActorStub(self.relay, config, self.nothing))


class ActorStubs(ResourceManager):
    """Grants a stub at every request: the conductor hands out no more trials than slots.

    Args:
        relay: the relay's handle.
    """

    def __init__(self, relay: Any) -> None:
        self._relay, self._nothing = relay, ray.put({})

    def request_resources(self, resource_request: ResourceRequest) -> None:
        """No-op: a stub needs no preparation."""

    def cancel_resource_request(self, resource_request: ResourceRequest) -> None:
        """No-op, likewise."""

    def has_resources_ready(self, resource_request: ResourceRequest) -> bool:
        """Always."""
        return True

    def acquire_resources(self, resource_request: ResourceRequest) -> AcquiredResources:
        """The resources of a stub."""
        return _Granted(resource_request, self._relay, self._nothing)

    def free_resources(self, acquired_resource: AcquiredResources) -> None:
        """No-op: an unused stub holds no resources."""

    def clear(self) -> None:
        """No-op, likewise."""
