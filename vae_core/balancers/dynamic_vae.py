"""A controlled rate in increments, DynamicVAE (Shao et al., CVPR 2022, arXiv 2009.06795)."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from vae_core.balancers.contract import (
    Balance,
    Balancer,
    Hyperparameter,
    Scalars,
    State,
    Terms,
    positive,
)
from vae_core.balancers.control_vae import TARGET, half_variance, mean_rate, pressed
from vae_core.balancers.schedules import clock, covered, ramp

RAMP = 0.5
"""Share of the training in which the target rises, if no length is given."""


class DynamicVae(Balancer):
    """L = S + b R; b moves by kp [f(e) - f(e before)] - ki e in a step, down to beta_min at most.

    f(e) = 1 / (1 + exp(e)), e = C(t) - m: m is a moving average of R, which begins with the first
    batch's, and C rises linearly from 0 to the target in ramp_epochs. b begins high, so that
    latents are taken into use one by one as C rises. It cannot wind up: what is clipped is what is
    kept.

    kp, ki, beta_init and beta_min are those released for disentangling dSprites. Released too, and
    not kept: C rises by 0.15 nats every 6,000 steps, m is the mean of the last 5 steps (here an
    exponential average of the same mean age, 2 steps). They are for a million steps: b falls by
    ki C a step while R is 0, so with a target of 5 no latent is used in the first 2,000. With
    beta_min at 0.1 a target that takes a smaller b is never reached: on images in [0, 1] many do.
    The pilot is that of :class:`ControlVae`. To tune: target.
    """

    name = "dynamic_vae"
    hand_tuned = True
    hyperparameters = {
        "target": TARGET,
        "ramp_epochs": positive(
            None, "epochs until the target is asked for; by default half of the training"
        ),
        "kp": positive(0.01, "gain of the proportional term, as released"),
        "ki": positive(0.005, "gain of the integral term, per nat and step, as released"),
        "beta_init": Hyperparameter(
            50.0, 0.0, math.inf, "b before the first step, as released", at_start=True
        ),
        "beta_min": positive(0.1, "lower bound of b, as released"),
        "decay": positive(2 / 3, "weight of the past in the average of R", high=1.0),
    }

    def derived(self, steps: int) -> dict[str, float]:
        return {"ramp_epochs": RAMP * steps / self.epoch}

    def reached(self, values: Mapping[str, float], steps: int) -> float:
        return covered(steps, values["ramp_epochs"] * self.epoch)

    def initial_state(self, hyper: Scalars) -> State:
        none = torch.zeros_like(hyper["target"])
        before = {"beta": hyper["beta_init"].clone(), "pressed": pressed(none), "rate": none}
        return {**before, "step": clock(none)}

    def balance(self, terms: Terms, state: State, learned: Scalars, hyper: Scalars) -> Balance:
        beta = self._moved(terms, state, hyper)["beta"]
        return Balance(half_variance(beta), beta)

    def next_state(self, terms: Terms, state: State, learned: Scalars, hyper: Scalars) -> State:
        return self._moved(terms, state, hyper)

    def _moved(self, terms: Terms, state: State, hyper: Scalars) -> State:
        """The state after the error of this batch."""
        batch, step = mean_rate(terms), state["step"]
        average = hyper["decay"] * state["rate"] + (1 - hyper["decay"]) * batch
        rate = torch.where(step == 0, batch, average)
        error = hyper["target"] * ramp(step, hyper["ramp_epochs"] * self.epoch) - rate
        push = pressed(error)
        moved = state["beta"] + hyper["kp"] * (push - state["pressed"]) - hyper["ki"] * error
        beta = moved.maximum(hyper["beta_min"])
        return {"beta": beta, "pressed": push, "rate": rate, "step": step + 1}
