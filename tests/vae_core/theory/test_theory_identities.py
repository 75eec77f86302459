"""What holds at every stationary point, and what the bound is worth there."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pytest
import torch
from linear_gaussian import DEQUANTISATION, LATENT, SHAPE, Images, Trained, gaussian_images

from vae_core.evaluation.likelihood import EvaluationSet, calibrated, measure

if TYPE_CHECKING:
    from conftest import World

D, K = SHAPE.dims, LATENT


class Posteriors(NamedTuple):
    mean: np.ndarray
    """mu, [n, K]"""
    variance: np.ndarray
    """tau^2, [n, K]"""


def posteriors(member: Trained, images: Images) -> Posteriors:
    """q(z|x) of all images, by the encoder alone."""
    batches = EvaluationSet(images, "train", count=len(images.pixels), shape=SHAPE).batches(K)
    with torch.no_grad():
        mean, logvar = zip(*(member.model.encode(batch.x) for batch in batches), strict=True)
        variance = torch.cat(logvar).double().exp()
        return Posteriors(torch.cat(mean).double().numpy(), variance.numpy())


def entropy(variance: np.ndarray) -> float:
    """Of a Gaussian with independent components, nats."""
    return float(0.5 * np.log(2 * math.pi * math.e * variance).sum(-1).mean())


def gaussian_nll(mean: np.ndarray, cov: np.ndarray, images: Images) -> float:
    """-E ln N(x; mean, cov) over dequantised ``images``, exactly: it depends on their moments."""
    centre, spread = images.moments()
    second = spread + np.outer(centre - mean, centre - mean)
    _, log_det = np.linalg.slogdet(cov)
    trace = np.trace(np.linalg.solve(cov, second))
    return float(0.5 * (D * math.log(2 * math.pi) + log_det + trace))


def decoder_of(member: Trained) -> tuple[np.ndarray, np.ndarray]:
    """b [D] and W [D, K] of xhat = W z + b, read off the decoder's outputs."""
    with torch.no_grad():
        out = member.model.decode(torch.cat([torch.zeros(1, K), torch.eye(K)])).double().flatten(1)
    return out[0].numpy(), (out[1:] - out[0]).T.numpy()


def test_the_variance_law(world: World, dim_world: World) -> None:
    """Var(mu_k) + E[tau_k^2] = 1 for every latent, active or not, at any beta.

    Scale latent k by a in the encoder and by 1/a in the decoder: S stays, and
    d R/d ln a = E[mu_k^2 + tau_k^2] - 1 must vanish. Shifting it gives E[mu_k] = 0 alike. The sum
    over latents therefore averages to K, whether or not some are inactive (mu = 0, tau = 1).
    Only R pulls at that scale, so it converges last where beta is small: observed, 0.014 for the
    profile family and 0.067 at beta = MSE/2.
    """
    for found in (world, dim_world):
        for members, tolerance in ((found.profile, 0.04), (found.fixed, 0.1)):
            for member in members.values():
                q = posteriors(member, found.images)
                law = q.mean.var(axis=0) + q.variance.mean(axis=0)
                assert q.mean.mean(axis=0) == pytest.approx(0, abs=0.02)  # observed: 0.004
                assert law == pytest.approx(1, abs=tolerance)
                assert member.train.variance_law == pytest.approx(law.mean(), abs=1e-5)


def test_the_bound_is_a_sum_of_entropies(world: World, dim_world: World) -> None:
    """ELBO = mean_n H[q(z|x_n)] - H[p(z)] - H[p(x|z)] (Damm et al. 2023).

    With sigma^2 = S/D the likelihood's two terms are -D/2 ln(2 pi e sigma^2) = -H[p(x|z)], and
    -R = H[q] - H[p] + (K - sum_k E[mu_k^2 + tau_k^2])/2, whose last term the variance law removes.
    At any beta with sigma^2 refitted; with the balancer's own sigma^2 where it is learned. An error
    of the variance law counts K/2 times: observed, 0.018 nats, and 0.06 at beta = MSE/2.
    """
    for found in (world, dim_world):
        for members, tolerance in ((found.profile, 0.05), (found.fixed, 0.12)):
            for member in members.values():
                q = posteriors(member, found.images)
                latents = entropy(q.variance) - entropy(np.ones(K))
                refit = entropy(np.full(D, member.train.mse))
                bound = -calibrated(member.train, member.train, D)["calibrated_negative_elbo"]
                assert bound == pytest.approx(latents - refit, abs=tolerance)
        for rule in ("learned_sigma", "running_average"):
            member = found.profile[rule]
            sigma2, q = member.segment.sigma2, posteriors(member, found.images)
            likelihood = member.error / (2 * sigma2) + 0.5 * D * math.log(2 * math.pi * sigma2)
            entropies = entropy(q.variance) - entropy(np.ones(K)) - entropy(np.full(D, sigma2))
            assert -(likelihood + member.rate) == pytest.approx(entropies, abs=0.03)  # 0.009


def test_the_calibrated_bound_is_the_likelihood_of_the_model_itself(
    world: World, dim_world: World
) -> None:
    """A linear VAE's marginal is N(b, W W^T + sigma^2 I), and at pPCA's optimum q is its posterior.

    There the columns of W are orthogonal, so the exact posterior has the diagonal covariance and
    linear mean that the encoder can express: the bound is tight, on held-out images too.
    """
    for found, scale in ((world, 2), (dim_world, 1)):
        held_out = gaussian_images(scale, seed=1)
        batches = EvaluationSet(held_out, "test", count=len(held_out.pixels), shape=SHAPE)
        for rule in ("learned_sigma", "optimal_sigma", "running_average"):
            member = found.profile[rule]
            test = measure(member.model, batches.batches(K))
            mean, weights = decoder_of(member)
            cov = weights @ weights.T + member.train.mse * np.eye(D)
            for part, images in ((member.train, found.images), (test, held_out)):
                bound = calibrated(member.train, part, D)["calibrated_negative_elbo"]
                gap = bound - gaussian_nll(mean, cov, images)
                assert gap == pytest.approx(0, abs=0.05)  # observed: 0.015


def test_the_calibrated_bound_is_the_likelihood_of_probabilistic_pca(
    world: World, dim_world: World
) -> None:
    """The maximum-likelihood pPCA from the eigenvalues alone, on training and held-out images.

    On the training images tr(C^-1 Cov) = D, so that -ln p = D/2 ln(2 pi e) + ln det(C)/2 with
    det(C) = l_1 ... l_K sigma^(2 (D - K)).
    """
    for found, scale in ((world, 2), (dim_world, 1)):
        held_out = gaussian_images(scale, seed=1)
        mean, cov = found.images.moments()
        values, vectors = np.linalg.eigh(cov)
        values[: D - K] = found.truth.noise
        best = (vectors * values) @ vectors.T
        kept = found.truth.eigenvalues[:K]
        by_hand = 0.5 * (
            D * math.log(2 * math.pi * math.e)
            + np.log(kept).sum()
            + (D - K) * math.log(found.truth.noise)
        )
        assert gaussian_nll(mean, best, found.images) == pytest.approx(by_hand, abs=1e-9)
        assert found.truth.calibrated(found.truth.noise) == pytest.approx(by_hand, abs=1e-9)
        assert values.min() > 100 * DEQUANTISATION  # the grey levels hardly matter
        batches = EvaluationSet(held_out, "test", count=len(held_out.pixels), shape=SHAPE)
        for rule in ("learned_sigma", "optimal_sigma", "running_average"):
            member = found.profile[rule]
            test = measure(member.model, batches.batches(K))
            for part, images in ((member.train, found.images), (test, held_out)):
                bound = calibrated(member.train, part, D)["calibrated_negative_elbo"]
                # Observed: 0.015 nats, the noise of the evaluation's one latent sample an image.
                assert bound == pytest.approx(gaussian_nll(mean, best, images), abs=0.05)
        own = found.profile["predicted_image_sigma"].train
        assert own.nll is not None
        assert own.nll + own.R == pytest.approx(by_hand, abs=0.05)
