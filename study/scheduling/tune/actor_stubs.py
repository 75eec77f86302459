"""What Tune takes for the actors of its trials: seats at the relay, which cost no process.

An actor a trial would be a process of 116 MB that computes nothing and takes two seconds of a core
to come up. Tune asks a resource manager (an interface of Ray's) for whatever its actors run on;
ours grants each trial a seat, whose calls go to the relay.
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
    """One method of a seat, as Ray calls it."""

    remote: Callable[..., Any]


class Seat:
    """A trial's actor, as far as Tune can tell.

    Args:
        relay: the relay's handle.
        config: the trial's, as the searcher gave it: ``request`` as JSON.
        nothing: a reference to an empty dict: Tune's filling for results that have not come yet.
    """

    def __init__(self, relay: Any, config: dict[str, Any], nothing: Any) -> None:
        request = json.loads(config["request"])
        self.train = _Call(lambda: relay.follow.remote(request))
        self.stop = _Call(lambda: relay.release.remote(request["trial"]))
        self.__ray_ready__ = _Call(lambda: ray.put(None))
        self.get_auto_filled_metrics = _Call(lambda **_: nothing)


@dataclass
class _Granted(AcquiredResources):
    """The right to a seat."""

    relay: Any
    nothing: Any

    def _annotate_remote_entity(self, entity: Any, bundle: Any, bundle_index: int) -> Any:
        return _Call(lambda config, **_: Seat(self.relay, config, self.nothing))


class Seats(ResourceManager):
    """Grants a seat whenever Tune asks: the conductor hands out no more trials than slots.

    Args:
        relay: the relay's handle.
    """

    def __init__(self, relay: Any) -> None:
        self._relay, self._nothing = relay, ray.put({})

    def request_resources(self, resource_request: ResourceRequest) -> None:
        """Nothing has to be prepared."""

    def cancel_resource_request(self, resource_request: ResourceRequest) -> None:
        """Likewise."""

    def has_resources_ready(self, resource_request: ResourceRequest) -> bool:
        """Always."""
        return True

    def acquire_resources(self, resource_request: ResourceRequest) -> AcquiredResources:
        """A seat."""
        return _Granted(resource_request, self._relay, self._nothing)

    def free_resources(self, acquired_resource: AcquiredResources) -> None:
        """A seat nobody sits on is nothing."""

    def clear(self) -> None:
        """Likewise."""
