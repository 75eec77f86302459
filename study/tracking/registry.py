"""The models of a study's arms in MLflow's registry. Imports MLflow, as the sink does."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from study.tracking.changes import Model, Pack

log = logging.getLogger(__name__)

REFUSALS = {
    "BAD_REQUEST",
    "INVALID_PARAMETER_VALUE",
    "RESOURCE_ALREADY_EXISTS",
    "RESOURCE_DOES_NOT_EXIST",
}
"""MLflow's codes for a request that it rejects for good."""
_CREATED = "study.created"
_FOLDER = "model"  # of an MLflow model in its run


class Registry:
    """Registers models, each version once.

    Args:
        writable: the client; called right before every write.
        pack: writes an MLflow model of a trial.
    """

    def __init__(self, writable: Callable[[], MlflowClient], pack: Pack) -> None:
        self._writable, self._pack = writable, pack

    def register(self, model: Model, run: Any, created: str) -> bool:
        """Register ``model`` of ``run`` and let the alias ``best`` name it.

        Args:
            model: as a version of its name, unless it is one already.
            run: of the trial, in which the model is logged.
            created: the tag that tells this study from another of its name.

        Returns:
            False if the model cannot be built.
        """
        run_id = run.info.run_id
        versions = self._versions(model.name)
        mine = (v for v in versions if v.run_id == run_id and v.source.endswith(f"/{_FOLDER}"))
        version = next((v.version for v in mine), None)
        if version is None:
            if not self._log(model, run_id):
                return False
            if self._create(model.name):
                self._leave_former(model, created)
            source = f"{run.info.artifact_uri}/{_FOLDER}"
            version = (
                self._writable()
                .create_model_version(
                    model.name,
                    source,
                    run_id,
                    tags={_CREATED: created},
                    description=model.about,
                    await_creation_for=0,
                )
                .version
            )
            if any(other.tags.get(_CREATED) != created for other in versions):
                log.warning(
                    "the model '%s' in MLflow also has versions of another study of this name: "
                    "its alias 'best' names this study's from now on",
                    model.name,
                )
        self._writable().set_registered_model_alias(model.name, "best", version)
        return True

    def _versions(self, name: str) -> Any:
        return self._writable().search_model_versions(f"name = '{name}'")

    def _create(self, name: str) -> bool:
        """Create the registered model; return False if it is there."""
        try:
            self._writable().create_registered_model(name)
        except MlflowException as error:
            if error.error_code not in REFUSALS:
                raise
            return False
        return True

    def _leave_former(self, model: Model, created: str) -> None:
        """Say that the model has another name than in earlier versions of this platform."""
        if any(self._is_of(version, created) for version in self._versions(model.former)):
            self._writable().set_registered_model_tag(model.former, "study.renamed_to", model.name)
            log.warning(
                "the model '%s' in MLflow is not updated any more: this arm's best is '%s'",
                *(model.former, model.name),
            )

    def _is_of(self, version: Any, created: str) -> bool:
        """Whether a version, of which only its run tells, is of this study."""
        try:
            run = self._writable().get_run(version.run_id)
        except MlflowException as error:
            if error.error_code not in REFUSALS:
                raise
            return False
        return bool(run.data.tags.get(_CREATED) == created)

    def _log(self, model: Model, run: str) -> bool:
        """Log ``model`` as an artifact of its run; return False if it cannot be built."""
        with TemporaryDirectory() as scratch:
            folder = Path(scratch, _FOLDER)
            try:
                self._pack(model.trial, folder)
            except Exception as error:  # a user's own model may raise any, and would again
                log.warning("not in MLflow as a model: %s: %s", model.trial, error)
                return False
            self._writable().log_artifacts(run, str(folder), _FOLDER)
        return True
