"""The Trainable: a thin process that holds a trial's place in Tune while an engine trains it.

It imports neither torch nor the core. An engine's death stays in here: the trial takes another
slot and goes on from its checkpoint.
"""

from __future__ import annotations

import json
from typing import Any

import ray
from ray import tune
from ray.exceptions import RayActorError, RayTaskError


class TrialRelay(tune.Trainable):
    """Relays the reports of one trial, then, the process being reused, of the next."""

    def setup(self, config: dict[str, Any]) -> None:
        """Take over a trial: ``request`` as JSON, and the name of the ``pool``."""
        self._request = json.loads(config["request"])
        self._trial = self._request["trial"]
        self._seen = self._request["after"]
        self._pool = ray.get_actor(config["pool"])
        self._engine: tuple[str, Any] | None = None

    def step(self) -> dict[str, Any]:
        """Wait for the trial's next reports; ``over`` with the last, or when the study stops."""
        while True:
            try:
                if self._engine is None:
                    self._engine = ray.get(self._pool.acquire.remote(self._trial))
                    if self._engine is None:
                        return {"trial": self._trial, "reports": [], "over": True}
                    ray.get(self._engine[1].admit.remote(self._request))
                reports = ray.get(self._engine[1].reports.remote(self._trial, self._seen))
            except RayActorError:
                if self._engine is None:  # the pool itself: the driver has gone
                    raise
                ray.get(self._pool.lost.remote(self._engine[0]))
                self._engine = None
                continue
            except RayTaskError as error:
                reports = [self._crashed(str(error))]
            self._seen += len(reports)
            over = not reports or "end" in reports[-1] or self._seen == self._request["until"]
            if over:
                self.cleanup()
            return {"trial": self._trial, "reports": reports, "over": over}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Give the old trial's slot back, take the new trial over."""
        self.cleanup()
        self.setup(new_config)
        return True

    def cleanup(self) -> None:
        """Give the slot back; it may have been taken back already."""
        if self._engine is not None:
            self._pool.release.remote(self._trial)
            self._engine = None

    def _crashed(self, traceback: str) -> dict[str, Any]:
        """A report for a trial that an engine could not even take in."""
        end = {"state": "failed", "reason": "crashed", "traceback": traceback}
        nothing = {"images": 0, "metrics": {}, "seconds": {"training": 0.0, "evaluation": 0.0}}
        return {"step": self._seen + 1, **nothing, "end": end}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing is kept here: engines write the checkpoints, the driver the journal."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Likewise."""
