"""Lengths and rates where none is given: the shares of a training that the guide promises."""

from __future__ import annotations

import math

import pytest

from vae_core.balancers import BALANCERS
from vae_core.geometry import ImageShape

EPOCH = 20
"""Steps of an epoch here."""
SETTING = ImageShape(3, 4, 4), 5, 6 * EPOCH, 6

LENGTHS = [
    ("linear_warm_up", "warmup_epochs", 0.1),
    ("floored_warm_up", "warmup_epochs", 0.1),
    ("warm_down", "warmdown_epochs", 0.1),
    ("cyclical_beta", "cycle_epochs", 0.25),
    ("frozen_average", "freeze_epochs", 0.5),
    ("capacity", "ramp_epochs", 0.5),
    ("dynamic_vae", "ramp_epochs", 0.5),
    ("late_optimal_sigma", "start_epochs", 0.05),
]
"""The share of the training that a schedule takes."""
RATES = [
    ("learned_sigma", "sigma_lr", 30),
    ("student_t", "log_scale_lr", 30),
    ("student_t", "df_lr", 5),
    ("discretised_logistic", "log_scale_lr", 30),
    ("laplace_scale", "scale_lr", 5),
    ("geco", "rate", 30),
]
"""How far a training of any length can move it."""
MEMORIES = ["running_average", "running_minimum", "frozen_average", "geco"]

both_lengths = pytest.mark.parametrize("steps", [1000, 40_000])


def completed(family: str, name: str, steps: int) -> float:
    return BALANCERS.get(family)(*SETTING).complete({}, steps)[name]


@both_lengths
@pytest.mark.parametrize(("family", "name", "share"), LENGTHS)
def test_a_schedule_is_a_share_of_the_training(
    family: str, name: str, share: float, steps: int
) -> None:
    assert completed(family, name, steps) * EPOCH == pytest.approx(share * steps)


@both_lengths
@pytest.mark.parametrize(("family", "name", "travel"), RATES)
def test_a_rate_moves_as_far_in_any_training(
    family: str, name: str, travel: float, steps: int
) -> None:
    assert completed(family, name, steps) * steps == pytest.approx(travel)


@both_lengths
@pytest.mark.parametrize("family", MEMORIES)
def test_an_average_remembers_a_hundredth_of_the_training(family: str, steps: int) -> None:
    assert -1 / math.log(completed(family, "decay", steps)) == pytest.approx(0.01 * steps)


@pytest.mark.parametrize("family", ["learned_sigma", "student_t", "discretised_logistic", "geco"])
def test_a_rate_is_no_more_than_a_tenth(family: str) -> None:
    (name,) = {name for other, name, travel in RATES if other == family and travel == 30}
    assert completed(family, name, 100) == 0.1


@both_lengths
def test_the_400_epochs_of_scvi_are_kept(steps: int) -> None:
    assert completed("scvi_warm_up", "warmup_epochs", steps) == 400
