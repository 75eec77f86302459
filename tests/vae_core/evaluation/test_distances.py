"""Distances against closed forms, double loops, scipy and torch-fidelity's own functions."""

import math

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import calculate_precision_recall_full

from vae_core.errors import DataError
from vae_core.evaluation import distances as module
from vae_core.evaluation.distances import (
    NAMES,
    Reference,
    Statistics,
    distances,
    frechet,
    kid,
    neighbourhoods,
)
from vae_core.randomness import reseeded


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def gaussian(mean, cov):
    return Statistics(torch.as_tensor(mean).double(), torch.as_tensor(cov).double(), 1000)


class Flat:
    """Pixels are their own features."""

    name = "flat"

    def describe(self):
        return {"dims": 1}

    def __call__(self, x):
        return x.flatten(1)


def test_statistics_are_the_mean_and_the_unbiased_covariance():
    features = normal(50, 7) * 3 + 100
    found = Statistics.of(features)
    np.testing.assert_allclose(found.mean, features.double().numpy().mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.cov, np.cov(features.double().numpy().T), rtol=1e-9)
    assert found.n == 50


def test_the_frechet_distance_of_gaussians_with_common_axes_has_a_closed_form():
    # |m|^2 + sum (s_i - t_i)^2, whatever the rotation both share.
    rotation = torch.linalg.qr(normal(4, 4).double())[0]
    s, t = torch.tensor([1.0, 2, 3, 0]).double(), torch.tensor([4.0, 2, 0, 0.5]).double()
    shift = torch.tensor([1.0, -2, 0, 2]).double()
    a = gaussian(torch.zeros(4), rotation @ torch.diag(s**2) @ rotation.T)
    b = gaussian(shift, rotation @ torch.diag(t**2) @ rotation.T)
    # Both are singular: a zero eigenvalue's root is known to the root of the precision only.
    assert frechet(a, b) == pytest.approx(9 + (9 + 0 + 9 + 0.25), rel=1e-8)


def test_the_frechet_distance_of_two_general_gaussians_in_the_plane():
    # Tr (AB)^(1/2) = sqrt(Tr AB + 2 sqrt(det AB)) for 2 x 2 matrices.
    A, B = np.array([[2.0, 1], [1, 3]]), np.array([[1.0, -0.5], [-0.5, 4]])
    root = math.sqrt(np.trace(A @ B) + 2 * math.sqrt(np.linalg.det(A @ B)))
    expected = 5 + np.trace(A) + np.trace(B) - 2 * root
    assert frechet(gaussian([0, 0], A), gaussian([1, 2], B)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("n", [400, 20])
def test_the_frechet_distance_is_scipys_and_torch_fidelitys(n):
    """Also with fewer images than features, where the covariances are singular."""
    mix = normal(32, 32, seed=1)
    a, b = normal(n, 32, seed=2) @ mix, normal(n, 32, seed=3) * 1.5 + 0.3
    ours = frechet(Statistics.of(a), Statistics.of(b))
    sa, sb = (fid_features_to_statistics(f.double()) for f in (a, b))
    theirs = fid_statistics_to_metric(sa, sb, False)["frechet_inception_distance"]
    assert ours == pytest.approx(theirs, rel=1e-6)
    if n > 32:
        root = sqrtm(sa["sigma"] @ sb["sigma"]).real
        shift = np.square(sa["mu"] - sb["mu"]).sum()
        by_hand = shift + np.trace(sa["sigma"] + sb["sigma"] - 2 * root)
        assert ours == pytest.approx(by_hand, rel=1e-9)


def test_the_frechet_distance_of_a_set_to_itself_is_zero_and_never_below():
    for n in (10, 500):
        same = Statistics.of(normal(n, 40) * 1e3)
        assert 0 <= frechet(same, same) < 1e-6 * float(same.cov.trace())
    a, b = Statistics.of(normal(60, 9)), Statistics.of(normal(60, 9, seed=1) * 2)
    assert frechet(a, b) == pytest.approx(frechet(b, a), rel=1e-9)


def test_the_frechet_distance_of_what_is_not_finite_is_nan():
    a = Statistics.of(normal(20, 3))
    assert math.isnan(frechet(a, Statistics.of(torch.full((20, 3), torch.inf))))


def mmd2(x, y):
    """The unbiased estimator, term by term."""
    k = lambda u, v: (float(u @ v) / len(u) + 1) ** 3  # noqa: E731
    n, m = len(x), len(y)
    xx = sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    yy = sum(k(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return xx + yy - 2 * sum(k(u, v) for u in x for v in y) / (n * m)


def test_kid_of_subsets_that_are_everything_is_the_unbiased_mmd():
    a, b = normal(30, 5).double(), normal(30, 5, seed=1).double() + 0.5
    assert kid(a, b) == pytest.approx(mmd2(a, b), rel=1e-10)
    theirs = kid_features_to_metric(a, b, kid_subsets=3, kid_subset_size=30, verbose=False)
    assert kid(a, b) == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-6)


def test_kid_over_subsets_estimates_the_kid_of_all(monkeypatch):
    a, b = normal(300, 4), normal(200, 4, seed=1) * 1.2
    exact = mmd2(a.double(), b.double())
    monkeypatch.setattr(module, "SUBSET_SIZE", 60)
    found = [kid(a, b, seed) for seed in range(5)]
    assert len(set(found)) == 5
    assert found[0] == kid(a, b, 0)
    spread = np.std(found, ddof=1) / math.sqrt(5)
    assert np.mean(found) == pytest.approx(exact, abs=4 * spread)
    assert spread < 0.2 * exact


@pytest.mark.parametrize("size", [10, 60])  # few of the pairs are in a subset, or most of them
def test_kid_is_the_mean_over_subsets_drawn_by_its_seed(monkeypatch, size):
    a, b = normal(300, 4).double(), normal(200, 4, seed=1).double() * 1.2
    monkeypatch.setattr(module, "SUBSET_SIZE", size)
    draws, wanted = reseeded(torch.Generator(), 7, "kid"), []
    for _ in range(100):
        x, y = (f[torch.randperm(len(f), generator=draws)[:size]] for f in (a, b))
        xx, yy, xy = ((u @ v.T / 4 + 1) ** 3 for u, v in ((x, x), (y, y), (x, y)))
        within = xx.sum() - xx.trace() + yy.sum() - yy.trace()
        wanted.append(float(within / (size * (size - 1)) - 2 * xy.mean()))
    assert kid(a, b, 7) == pytest.approx(np.mean(wanted), rel=1e-9)


def test_kid_of_equal_distributions_is_zero_on_average_and_may_be_negative():
    found = [kid(normal(40, 6, seed=2 * s), normal(40, 6, seed=2 * s + 1)) for s in range(60)]
    assert min(found) < 0 < max(found)
    assert abs(np.mean(found)) < 3 * np.std(found) / math.sqrt(60)


def by_loops(real, fake, k, k_density, ties="inside"):
    """Neighbourhoods, straight from the definitions, on distances computed one by one."""
    d = lambda u, v: math.dist(u.tolist(), v.tolist())  # noqa: E731

    def radius(points, i, k):
        return sorted(d(points[i], points[j]) for j in range(len(points)) if j != i)[k - 1]

    N, M = len(real), len(fake)
    R, F = [radius(real, i, k) for i in range(N)], [radius(fake, j, k) for j in range(M)]
    D = [radius(real, i, k_density) for i in range(N)]
    cross = [[d(real[i], fake[j]) for j in range(M)] for i in range(N)]

    def within(distance, radius):
        return distance < radius or (ties == "inside" and distance == radius)

    return (
        sum(any(within(cross[i][j], R[i]) for i in range(N)) for j in range(M)) / M,
        sum(any(within(cross[i][j], F[j]) for j in range(M)) for i in range(N)) / N,
        sum(cross[i][j] < D[i] for i in range(N) for j in range(M)) / (k_density * M),
        sum(any(cross[i][j] < D[i] for j in range(M)) for i in range(N)) / N,
    )


@pytest.mark.parametrize("rows", [7, 1024])
@pytest.mark.parametrize(("n", "m", "scale"), [(40, 25, 1.0), (23, 60, 0.4), (30, 30, 2.0)])
def test_neighbourhoods_are_what_double_loops_count(monkeypatch, rows, n, m, scale):
    monkeypatch.setattr(module, "ROWS", rows)
    real, fake = normal(n, 3).double() + 10, normal(m, 3, seed=1).double() * scale + 10
    for k, k_density in ((3, 5), (1, 2), (5, 3)):
        found = neighbourhoods(real, fake, k, k_density)
        assert found == pytest.approx(by_loops(real, fake, k, k_density), abs=1e-12)
    theirs = calculate_precision_recall_full(fake, real, neighborhood=3)
    assert neighbourhoods(real, fake)[:2] == pytest.approx(theirs, abs=1e-6)


def test_duplicates_make_ties_that_count_as_asked():
    """On a lattice, where distances are exact, with an eighth of the images duplicated."""
    random = np.random.default_rng(0)
    real, fake = (
        torch.tensor(random.integers(0, 12, (n, 3)), dtype=torch.float64) for n in (64, 56)
    )
    real[:8], fake[:7] = real[8:16], fake[7:14]
    fake[20:30] = real[20:30]
    found = {}
    for ties in ("inside", "outside"):
        found[ties] = neighbourhoods(real, fake, ties=ties)
        assert found[ties] == pytest.approx(by_loops(real, fake, 3, 5, ties), abs=1e-12)
    assert found["outside"].precision < found["inside"].precision
    assert found["outside"].recall < found["inside"].recall
    assert found["outside"][2:] == found["inside"][2:]
    # Where each image is there four times, every radius is 0: a copy is at it, and not within it.
    copies = torch.cat([real[8:20]] * 4)
    assert neighbourhoods(copies, copies)[:2] == (1, 1)
    assert neighbourhoods(copies, copies, ties="outside")[:2] == (0, 0)


def test_neighbourhoods_of_extremes():
    real = normal(200, 3)
    far = neighbourhoods(real, normal(200, 3, seed=1) + 100)
    assert far == (0, 0, 0, 0)
    collapsed = neighbourhoods(real, real[:1] + 1e-3 * normal(200, 3, seed=2))
    assert collapsed.precision == 1
    assert collapsed.recall < 0.05
    assert collapsed.coverage < 0.2
    # Naeem et al. (2020), Section 4: for equal distributions density is 1 on average, coverage
    # 1 - (N-1)...(N-k) / (2N-1)...(2N-k) = 1 - 2^-k for large N.
    found = [
        neighbourhoods(normal(400, 3, seed=2 * s), normal(400, 3, seed=2 * s + 1)) for s in range(8)
    ]
    assert np.mean([f.density for f in found]) == pytest.approx(1, abs=0.05)
    assert np.mean([f.coverage for f in found]) == pytest.approx(1 - 2**-5, abs=0.01)


def test_all_distances_by_name_from_one_tensor_or_from_batches():
    real, fake = torch.rand(60, 1, 4, 4), torch.rand(50, 1, 4, 4)
    reference = Reference(real.flatten(1), Statistics.of(real.flatten(1)))
    found = distances(Flat(), reference, fake)
    assert tuple(found) == NAMES
    assert all(math.isfinite(value) for value in found.values())
    assert distances(Flat(), reference, iter([fake[:20], fake[20:]])) == found
    assert found["frechet"] == frechet(reference.statistics, Statistics.of(fake.flatten(1)))
    assert found["kid"] == kid(reference.features, fake.flatten(1), 0)
    other = distances(Flat(), reference, fake, seed=1)
    assert {key for key in found if other[key] != found[key]} == {"kid"}


def test_images_that_are_not_finite_make_every_distance_nan():
    real, fake = torch.rand(20, 1, 4, 4), torch.rand(20, 1, 4, 4)
    fake[3, 0, 1, 1] = torch.nan
    reference = Reference(real.flatten(1), Statistics.of(real.flatten(1)))
    assert all(math.isnan(value) for value in distances(Flat(), reference, fake).values())


@pytest.mark.parametrize("batches", [[], [torch.rand(5, 1, 4, 4)]])
def test_too_few_images_are_refused(batches):
    real = torch.rand(20, 16)
    with pytest.raises(DataError, match=r"[05] images against 20 real ones"):
        distances(Flat(), Reference(real, Statistics.of(real)), batches)
