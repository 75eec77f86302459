"""``study doctor``: the checks of a machine, or of the cluster at an address."""

from __future__ import annotations

from pathlib import Path

from study.diagnosing.diagnosis import Diagnosis, diagnose
from study.launching.ray_cluster import check_address, connected
from study.spec import StudySpec


def examine(spec: StudySpec | None, home: Path, address: str | None) -> Diagnosis:
    """What a launch of ``spec`` would meet; see :func:`study.diagnosing.diagnosis.diagnose`.

    Raises:
        AddressError: no cluster answers at ``address``.
    """
    if address is None:
        return diagnose(spec, home, cluster=False)
    check_address(address)
    with connected(address):
        return diagnose(spec, home, cluster=True)
