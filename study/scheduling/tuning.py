"""The one Tuner of a study."""

from __future__ import annotations

import os
import tempfile

from ray import tune

from study.scheduling.fleet import Fleet
from study.scheduling.relay import TrialRelay
from study.scheduling.tune_interfaces import StudyScheduler, StudySearcher
from study.search import Conductor

RELAY_BYTES = 128 * 2**20
"""What a Trainable's process takes: it computes nothing, so it claims memory and no core."""


def tune_trials(conductor: Conductor, fleet: Fleet) -> None:
    """Run trials until the conductor has no more.

    Tune keeps nothing of its own: its snapshots go to a folder that is thrown away, and a failure
    of a Trainable's process is retried without end, for the conductor counts failures.
    """
    # Tune starts trial processes one after the other unless told how many may be pending.
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(conductor.slots)
    with tempfile.TemporaryDirectory(prefix="study-tune-") as scratch:
        tuner = tune.Tuner(
            tune.with_resources(TrialRelay, {"cpu": 0, "memory": RELAY_BYTES}),
            tune_config=tune.TuneConfig(
                search_alg=StudySearcher(conductor, fleet),
                scheduler=StudyScheduler(conductor, fleet),
                num_samples=-1,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name="trials",
                storage_path=scratch,
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=-1),
            ),
        )
        tuner.fit()
