"""The batch-optimal noise variance begun late, to see whether a large one at first matters."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from vae_core.balancers.contract import Balance, Scalars, State, Terms, positive
from vae_core.balancers.optimal_sigma import OptimalSigma
from vae_core.balancers.schedules import clock, covered

START = 0.05
"""Share of the training before it begins, if no time is given."""


class LateOptimalSigma(OptimalSigma):
    """sigma is start_sigma at first, and from then on that of the batch at hand.

    A control for :class:`OptimalSigma`, of no paper: ``running_average`` begins at sigma 1 too and
    leaves it within a few hundredths of the training, this one at once. Begins after a twentieth of
    the training by default. To tune: nothing.
    """

    name = "late_optimal_sigma"
    hyperparameters = {
        **OptimalSigma.hyperparameters,
        "start_sigma": positive(1.0, "sigma before it begins"),
        "start_epochs": positive(
            None, "epochs before it begins; by default a twentieth of the training"
        ),
    }

    def derived(self, steps: int) -> dict[str, float]:
        return {"start_epochs": START * steps / self.epoch}

    def reached(self, values: Mapping[str, float], steps: int) -> float:
        return covered(steps, values["start_epochs"] * self.epoch)

    def initial_state(self, hyper: Scalars) -> State:
        return {"step": clock(hyper["k"])}

    def balance(self, terms: Terms, state: State, learned: Scalars, hyper: Scalars) -> Balance:
        at = super().balance(terms, state, learned, hyper)
        waiting = state["step"] < hyper["start_epochs"] * self.epoch
        first = 2 * hyper["start_sigma"].log()
        return Balance(torch.where(waiting, first, at.log_sigma2), at.k)

    def next_state(self, terms: Terms, state: State, learned: Scalars, hyper: Scalars) -> State:
        return {"step": state["step"] + 1}
