"""A running average of the error that stops, to see whether what it follows later on matters."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from vae_core.balancers.contract import Scalars, State, Terms, positive
from vae_core.balancers.running_average import RunningAverage
from vae_core.balancers.schedules import clock, covered

FREEZE = 0.5
"""Share of the training after which it stops, if no time is given."""


class FrozenAverage(RunningAverage):
    """sigma^2 is the running average of the error until it is frozen, and constant from there on.

    A control for :class:`RunningAverage`, of no paper: what is left of its lead if sigma^2 falls
    but does not follow the error to the end. Frozen after half of the training by default. To
    tune: nothing; freeze_epochs sets where the balance ends.
    """

    name = "frozen_average"
    hyperparameters = {
        **RunningAverage.hyperparameters,
        "freeze_epochs": positive(
            None, "epochs until it stops; by default half of the training", trade_off=True
        ),
    }

    def derived(self, steps: int) -> dict[str, float]:
        return {**super().derived(steps), "freeze_epochs": FREEZE * steps / self.epoch}

    def reached(self, values: Mapping[str, float], steps: int) -> float:
        return covered(steps, values["freeze_epochs"] * self.epoch)

    def initial_state(self, hyper: Scalars) -> State:
        return {**super().initial_state(hyper), "step": clock(hyper["decay"])}

    def next_state(self, terms: Terms, state: State, learned: Scalars, hyper: Scalars) -> State:
        moving = state["step"] < hyper["freeze_epochs"] * self.epoch
        mse = torch.where(moving, self.average(terms, state, hyper), state["mse"])
        return {"mse": mse, "step": state["step"] + 1}
