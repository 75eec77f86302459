"""What each arm begins with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from optuna.storages import BaseStorage

from study.journal.events import TrialsTold
from study.search.phases import Confirm, Phase, Search
from study.search.population import PopulationSearch
from study.spec import SAMPLERS, SearchSpec, StudySpec


def first_phases(
    storage: BaseStorage, spec: StudySpec, dims: int, told: Mapping[str, TrialsTold]
) -> Iterator[Phase]:
    """The phase that each replicate of each arm begins with: its search, if it has one."""
    for arm, found in spec.arms.items():
        for replicate in range(found.search.replicates if found.search else 1):
            of = storage, spec, dims, arm, replicate
            if found.search is None:
                yield Confirm(*of, None)
            else:
                yield _kind(found.search)(*of, told.get(arm))


def _kind(search: SearchSpec) -> type[Search]:
    return PopulationSearch if SAMPLERS[search.sampler.name].evolves else Search
