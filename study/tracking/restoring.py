"""A deleted experiment that becomes a study's again."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import ViewType

log = logging.getLogger(__name__)

_RESTORED = "study.restored"
"""Tag of an experiment some of whose restored runs are yet to be deleted again: when it was
restored, in milliseconds."""
_PAGE = 1000


def restore(writable: Callable[[], MlflowClient], experiment: Any, created: str) -> None:
    """Restore ``experiment`` if it is deleted; its runs of anything else stay deleted.

    MLflow restores all runs with their experiment, those too that had been deleted one by one, and
    keeps nothing to tell them apart by. So all are deleted again but those of the study that was
    ``created`` then. If that is interrupted, the next call does the rest.
    """
    restored = experiment.tags.get(_RESTORED)
    if experiment.lifecycle_stage == "deleted":
        restored = str(round(time.time() * 1000))
        writable().restore_experiment(experiment.experiment_id)
        writable().set_experiment_tag(experiment.experiment_id, _RESTORED, restored)
    if not restored:
        return
    others = _others(writable(), experiment.experiment_id, restored, created)
    for run in others:
        writable().delete_run(run)
    log.warning(
        "the experiment '%s' had been deleted in MLflow: it is restored for this study, and %d "
        "runs in it that are not this study's stay deleted",
        experiment.name,
        len(others),
    )
    writable().set_experiment_tag(experiment.experiment_id, _RESTORED, "")


def _others(client: MlflowClient, experiment: str, restored: str, created: str) -> list[str]:
    """The active runs from before the experiment was restored that are not the study's."""
    found, page = [], None
    query = f"attributes.start_time < {restored}"
    while True:
        runs = client.search_runs(
            [experiment], query, ViewType.ACTIVE_ONLY, max_results=_PAGE, page_token=page
        )
        found += [r.info.run_id for r in runs if r.data.tags.get("study.created") != created]
        page = runs.token
        if not page:
            return found
