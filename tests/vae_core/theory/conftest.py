"""The linear VAEs of these tests, trained once for all of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from linear_gaussian import (
    LATENT,
    SHAPE,
    Images,
    LinearVAE,
    Optimum,
    Rule,
    Trained,
    gaussian_images,
    optimum,
    train_all,
)

LINEAR = {"name": f"{LinearVAE.__module__}:LinearVAE", "latent": LATENT}
GRID = tuple(float(f) for f in 2 ** np.array([-1, -0.5, 0, 0.5, 1, 2]))
"""beta of the fixed-beta members in units of the pPCA noise variance: the fixed point is 1."""
ABOVE = (0.05, 0.1)
"""Further betas, that put out the third latent, and the second as well."""
PROFILE: dict[str, Rule] = {
    "learned_sigma": ("learned_sigma", {}),
    "optimal_sigma": ("optimal_sigma", {}),
    "running_average": ("running_average", {}),
    "running_minimum": ("running_minimum", {}),
    "asperti_trentin": ("asperti_trentin", {"k": 1.0}),
    # The released clip is no part of the theory, and a test of its own.
    "optimal_sigma_clipped": ("optimal_sigma", {"log_sigma_min": -6.0}),
}


@dataclass(frozen=True)
class World:
    """Images, what theory says of them, and what training made of them."""

    images: Images
    truth: Optimum
    profile: dict[str, Trained]
    """The rules that set sigma^2, by name"""
    fixed: dict[float, Trained]
    """Fixed beta, by beta"""


def _world(scale: int, betas: list[float]) -> World:
    images = gaussian_images(scale, seed=0)
    fixed: list[Rule] = [("fixed_beta", {"beta": beta}) for beta in betas]
    trained = train_all(LINEAR, images, SHAPE, [*PROFILE.values(), *fixed])
    profile = dict(zip(PROFILE, trained, strict=False))
    predicted = train_all(LINEAR, images, SHAPE, [("predicted_image_sigma", {})], head="image")
    return World(
        images,
        optimum(images),
        {**profile, "predicted_image_sigma": predicted[0]},
        dict(zip(betas, trained[len(profile) :], strict=True)),
    )


@pytest.fixture(scope="session")
def world() -> World:
    """Images of full contrast."""
    noise = optimum(gaussian_images(2, seed=0)).noise
    return _world(2, [*(factor * noise for factor in GRID), *ABOVE])


@pytest.fixture(scope="session")
def dim_world(world: World) -> World:
    """The same images at half the contrast, and so a quarter of every eigenvalue."""
    noise = world.truth.noise
    return _world(1, [noise / 2, noise, 2 * noise])
