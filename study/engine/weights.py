"""The Inception network's weights, in the data store, where every node of a study finds them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from study.journal import Entry
from study.journal.events import EngineChanged
from study.spec import EvaluationSpec
from vae_core.atomic import atomic_write
from vae_core.data.files import locked


def shared_weights(
    evaluation: EvaluationSpec, store: Path, measured: Mapping[str, Any] | None = None
) -> Path | None:
    """The file of weights in ``store``; None where the study uses no features of Inception.

    The file that the environment names, else the one that the study has measured with, else the
    last in the store, else torch-fidelity's own download. The network is built from it once: a
    wrong file is an error before anything runs.

    Args:
        evaluation: what the study evaluates.
        store: the data store.
        measured: the network, as an engine of an earlier launch described it.

    Raises:
        DataError: there is none, or it holds something else.
    """
    if "inception" not in evaluation.features:
        return None
    from vae_core.evaluation.features import WEIGHTS_VARIABLE, inception, weights_file

    given = os.environ.get(WEIGHTS_VARIABLE)
    there = sorted(store.glob("inception-*.pth"), key=lambda path: path.stat().st_mtime)
    if given is None and there:
        own = _named(store, measured["sha256"]) if measured else None
        return own if own in there else there[-1]
    source = weights_file(None if given is None else Path(given))
    found = inception(source, "cpu").describe()
    path = _named(store, str(found["sha256"]))
    with locked(store, "inception"):  # studies of one home may begin at once
        if not path.exists():
            with atomic_write(path) as file:
                file.write(source.read_bytes())
    return path


def recorded_weights(descriptions: Mapping[str, Any], store: Path) -> Path | None:
    """The file in ``store`` that a study's distances were measured with, by its record of them."""
    if "inception" not in descriptions:
        return None
    return _named(store, descriptions["inception"][-1]["sha256"])


def measured_with(entries: Iterable[Entry]) -> Mapping[str, Any] | None:
    """The Inception network that a study measures with, as its first engine described it."""
    events = (entry.event for entry in entries)
    started = (event for event in events if isinstance(event, EngineChanged))
    return next((e.features["inception"] for e in started if "inception" in e.features), None)


def _named(store: Path, sha256: str) -> Path:
    return store / f"inception-{sha256[:12]}.pth"
