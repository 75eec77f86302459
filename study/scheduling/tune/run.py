"""A study's run of Tune."""

from __future__ import annotations

import os
import sys
import tempfile

from ray import tune
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Experiment
from ray.tune.search import SearchGenerator

from study.scheduling.fleet import Fleet
from study.scheduling.tune.actor_stubs import ActorStubs
from study.scheduling.tune.interfaces import StudyScheduler, StudySearcher
from study.search import Conductor


def tune_trials(conductor: Conductor, fleet: Fleet) -> None:
    """Run trials until the conductor has no more.

    Tune's controller is driven here, because its Tuner cannot be given a resource manager. Tune
    keeps no state: its snapshots go to a temporary folder, and it retries without end what fails
    on the way to an engine, because the conductor counts failures.
    """
    # By default Tune starts trials one after the other; the conductor counts the slots there are.
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(sys.maxsize)
    # Nor is it to ask Ray's head for its resources: a dead one lets it wait for ever.
    os.environ["TUNE_STATE_REFRESH_PERIOD"] = str(sys.maxsize)
    with tempfile.TemporaryDirectory(prefix="study-tune-") as scratch:
        experiment = Experiment(
            "trials", tune.Trainable, num_samples=sys.maxsize, storage_path=scratch, max_failures=-1
        )
        search = SearchGenerator(StudySearcher(conductor, fleet))
        search.add_configurations([experiment])
        controller = TuneController(
            search_alg=search,
            scheduler=StudyScheduler(conductor, fleet),
            storage=experiment.storage,
            resource_manager_factory=lambda: ActorStubs(fleet.relay),
        )
        while not controller.is_finished():
            controller.step()
        controller.cleanup()
