"""The Trainable: a thin process that holds a trial's place in Tune while an engine trains it.

It imports neither torch nor the core. An engine's death is no failure here: the study hears of it,
and the trial takes another slot and goes on from its checkpoint.
"""

from __future__ import annotations

import json
import time
from typing import Any

import ray
from ray import tune
from ray.exceptions import ActorUnavailableError, GetTimeoutError, RayActorError, RayTaskError

PAUSE = 1.0
"""Seconds before an engine that cannot be reached just now is asked again."""


LOST = 60.0
"""Seconds after which a call that the pool answers much sooner is lost."""


class TrialRelay(tune.Trainable):
    """Relays the reports of one trial, then, the process being reused, of the next."""

    def setup(self, config: dict[str, Any]) -> None:
        """Take over a trial: ``request`` as JSON, and the name of the ``pool``."""
        self._request = json.loads(config["request"])
        self._trial = self._request["trial"]
        self._pool = ray.get_actor(config["pool"])
        self._engine: tuple[str, Any] | None = None
        self._taken: int | None = None  # reports taken from this engine; None: not admitted yet

    def step(self) -> dict[str, Any]:
        """Wait for the trial's next reports; ``over`` with the last, or when the study stops.

        ``died`` names the engine whose death ended the wait.
        """
        while True:
            try:
                return self._relay()
            except ActorUnavailableError:  # of the network, perhaps: it may be there again
                time.sleep(PAUSE)
            except RayActorError:
                if self._engine is None:  # the pool itself: the driver has gone
                    raise
                engine, self._engine = self._engine[0], None
                ray.get(self._pool.lost.remote(engine))
                return self._result(died=engine)

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

    def _relay(self) -> dict[str, Any]:
        try:
            if self._engine is None:
                found = self._acquire()
                if found is None:
                    return self._result(over=True)
                self._engine, self._taken = found, None
            engine = self._engine[1]
            if self._taken is None:
                ray.get(engine.admit.remote(self._request))
                self._taken = 0
            reports = ray.get(engine.reports.remote(self._trial, self._taken))
        except RayTaskError as error:
            reports = [self._crashed(str(error))]
        self._taken = (self._taken or 0) + len(reports)
        steps = [report["step"] for report in reports if "step" in report]
        self._request["after"] = max([self._request["after"], *steps])
        last = reports[-1] if reports else {"end": None}
        over = "step" not in last or "end" in last or last["step"] == self._request["until"]
        if over:
            self.cleanup()
        return self._result(reports, over=over)

    def _acquire(self) -> tuple[str, Any] | None:
        """A slot, or None once the study ends."""
        while True:
            try:
                found: tuple[str, Any] | None
                found = ray.get(self._pool.acquire.remote(self._trial), timeout=LOST)
            except GetTimeoutError:
                continue
            if found is None or found[0]:
                return found

    def _result(
        self, reports: list[dict[str, Any]] | None = None, *, over: bool = False, died: str = ""
    ) -> dict[str, Any]:
        return {"trial": self._trial, "reports": reports or [], "over": over, "died": died}

    def _crashed(self, traceback: str) -> dict[str, Any]:
        """A report for a trial that an engine could not even take in."""
        end = {"state": "failed", "reason": "crashed", "traceback": traceback}
        nothing = {"images": 0, "metrics": {}, "seconds": {"training": 0.0, "evaluation": 0.0}}
        maker = self._engine[0] if self._engine else ""
        return {"step": self._request["after"] + 1, **nothing, "engine": maker, "end": end}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing is kept here: engines write the checkpoints, the driver the journal."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Likewise."""
