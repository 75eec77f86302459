"""What goes on beside a launch's beginning: it takes as long, and needs nothing of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import NamedTuple

from study.launching.core_process import CoreProcess
from study.launching.mlflow_process import MlflowProcess
from study.launching.ray_cluster import AddressCheck


class Aside(NamedTuple):
    """What goes on."""

    core: CoreProcess
    """Looks up and tries models and balancers."""
    reached: AddressCheck
    """Sees that the cluster answers, if one is named."""
    mlflow: MlflowProcess
    """Loads MLflow."""


@contextmanager
def beginning(address: str | None) -> Iterator[Aside]:
    """A block in which these go on; the driver is loaded as it begins.

    MLflow, which nothing waits for, comes last: on two cores it would delay the others.
    """
    with closing(CoreProcess()) as core, closing(AddressCheck(address)) as reached:
        import study.launching.driver  # noqa: F401

        with MlflowProcess() as mlflow:
            yield Aside(core, reached, mlflow)
