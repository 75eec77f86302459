"""What goes on beside a launch's beginning: it takes as long, and needs nothing of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from study.launching.core_process import CoreProcess
from study.launching.ray_cluster import AddressCheck


class Aside(NamedTuple):
    """What goes on."""

    core: CoreProcess
    """Looks up and tries models and balancers."""
    reached: AddressCheck
    """Sees that the cluster answers, if one is named."""


@contextmanager
def beginning(address: str | None) -> Iterator[Aside]:
    """A block in which these go on; to load the driver in, for one."""
    with CoreProcess() as core, AddressCheck(address) as reached:
        yield Aside(core, reached)
