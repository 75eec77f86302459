"""Ex-post density estimation: a Gaussian mixture on the latents (Ghosh et al. 2020, RAE).

arXiv 1903.12436, section 4: after training, a density with full covariances is fitted to the
latents of the training images, and new images are decoded from its samples.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from vae_core.errors import UserError
from vae_core.generation.latents import BLOCK, Posteriors, normal
from vae_core.randomness import SEED_LIMIT, derive

MAX_ITERATIONS = 2000
TOLERANCE = 1e-3
"""Both of EM, as in RAE's released code; the rest is scikit-learn's default, there and here."""


@dataclass(frozen=True)
class Mixture:
    """A mixture of k Gaussians over latents; its parameters are on the CPU."""

    weights: Tensor
    """[k], sums to 1"""
    means: Tensor
    """[k, Z]"""
    factors: Tensor
    """[k, Z, Z]: lower Cholesky factors of the covariances"""
    device: torch.device
    """Where samples are wanted."""

    def sample(self, count: int, seed: int) -> Tensor:
        """Latents [count, Z], count >= 1; row i depends on the mixture, ``seed`` and i only."""
        # Whole blocks: a matrix product of fewer rows may round differently.
        padded = count + -count % BLOCK
        noise = normal(padded, self.means.shape[1] + 1, seed, "mixture")
        # The first column, made uniform by the normal distribution function, picks the component.
        uniform = torch.special.ndtr(noise[:, 0].double())
        chosen = torch.searchsorted(self.weights.double().cumsum(0)[:-1], uniform, right=True)
        blocks = torch.split(noise[:, 1:], BLOCK)
        spread = [torch.einsum("kij,nj->kni", self.factors, block) for block in blocks]
        z = self.means[chosen] + torch.cat(spread, dim=1)[chosen, torch.arange(padded)]
        return z[:count].to(self.device)


def fit_mixture(posteriors: Posteriors, components: int = 10, seed: int = 0) -> Mixture:
    """The mixture of ``components`` Gaussians, full covariances, that EM finds from k-means.

    It is fitted to the posterior means, without their variances: so does RAE's released code, for
    its VAE rows as well. Directions the model does not use collapse to a point there, and 1e-6 on
    the diagonal of every covariance keeps them harmless.

    Args:
        posteriors: of the training images.
        components: Gaussians; RAE's tables use 10.
        seed: of k-means' first centres.

    Raises:
        UserError: scikit-learn is missing, there are fewer latents than components, they are not
            finite, or EM finds no valid covariance.
    """
    try:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.mixture import GaussianMixture
    except ImportError:
        raise UserError(
            "a mixture of Gaussians needs the package scikit-learn",
            remedy="install scikit-learn where the engines run",
        ) from None
    posteriors.require_finite("mixture of Gaussians")
    if len(posteriors.mu) < components:
        raise UserError(
            f"{components} Gaussians cannot be fitted to {len(posteriors.mu)} latents",
            remedy="fit fewer, or give more images",
        )
    em = GaussianMixture(
        components,
        max_iter=MAX_ITERATIONS,
        tol=TOLERANCE,
        random_state=derive(seed, "mixture") % SEED_LIMIT,
    )
    try:
        with warnings.catch_warnings():
            # Fewer distinct latents than components: the spare ones share a place.
            warnings.simplefilter("ignore", ConvergenceWarning)
            em.fit(posteriors.mu.double().cpu().numpy())
    except ValueError as error:
        raise UserError(
            f"no mixture of {components} Gaussians fits the latents: {error}",
            remedy="fit fewer components",
        ) from error
    parameters = (em.weights_, em.means_, em.covariances_)
    weights, means, covariances = (torch.from_numpy(values) for values in parameters)
    factors = torch.linalg.cholesky(covariances)
    return Mixture(weights.float(), means.float(), factors.float(), posteriors.mu.device)
