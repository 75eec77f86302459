"""The scores of single images as the analysis reads them, and the error that draws leave."""

from __future__ import annotations

from dataclasses import replace
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from study.analysis.records.image_scores import draw_error, image_scores
from study.analysis.records.tables import build_tables
from study.image_scores import ImageScores
from study.journal.events import TrialEnded
from vae_core.errors import DataError
from vae_core.likelihoods import bits_per_dim

D, N = 64, 40


def scores(seed: int, draws: int = 3) -> ImageScores:
    random = np.random.default_rng(seed)
    # Multiples of the step, which a file keeps as they are.
    return ImageScores(random.integers(-900, 900, N) / 64, random.normal(0, 1, draws))


def keep(stream: Any, home: Path, trial: str, kept: ImageScores) -> None:
    """Give a confirm run its scores, and D its due."""
    path = home / "trials" / trial / "image_scores.parquet"
    path.parent.mkdir(parents=True)
    path.write_bytes(kept.to_bytes())
    artifacts = {"image_scores": str(path.relative_to(home))}
    for i, entry in enumerate(stream.entries):
        if isinstance(entry.event, TrialEnded) and entry.event.trial == trial:
            metrics = {**entry.event.metrics, "test/S": 0.01 * D, "test/MSE": 0.01}
            changed = replace(entry.event, metrics=metrics, artifacts=artifacts)
            stream.entries[i] = entry._replace(event=changed)
            return
    raise AssertionError(f"no trial {trial}")


@pytest.fixture
def kept(make_stream: Any, tmp_path: Path) -> Any:
    """Two arms of two seeds; of one arm, seed 101 is confirmed for two replicates."""
    stream = make_stream()
    for replicate, tests in enumerate(({101: 9.0, 102: 9.0}, {101: 9.0})):
        stream.search("tpe", [8.0], replicate=replicate)
        stream.confirm("tpe", tests, chosen_from=0, replicate=replicate)
    stream.confirm("sigma", {101: 9.4})
    keep(stream, tmp_path, "tpe.confirm.r0.from0.0000", scores(101))
    keep(stream, tmp_path, "tpe.confirm.r1.from0.0000", scores(102))
    keep(stream, tmp_path, "tpe.confirm.r0.from0.0001", scores(103))
    keep(stream, tmp_path, "sigma.confirm.r0.fixed.0000", scores(7))
    return stream


def test_scores_come_by_arm_and_seed_replicates_averaged(kept: Any, tmp_path: Path) -> None:
    trials = build_tables(kept.entries)["trials"]
    found = image_scores(trials, tmp_path, "calibrated_negative_elbo")
    assert {arm: set(seeds) for arm, seeds in found.items()} == {"tpe": {101, 102}, "sigma": {101}}
    assert found["sigma"][101].values.tolist() == scores(7).values.tolist()
    both = [scores(101), scores(102)]
    assert found["tpe"][101].values == pytest.approx(np.mean([b.values for b in both], axis=0))
    assert found["tpe"][101].draws == pytest.approx(np.mean([b.draws for b in both], axis=0))


def test_bits_are_those_of_the_metric_and_a_distance_has_none(kept: Any, tmp_path: Path) -> None:
    trials = build_tables(kept.entries)["trials"]
    found = image_scores(trials, tmp_path, "bits_per_dim")["sigma"][101]
    assert found.values == pytest.approx([bits_per_dim(v, D) for v in scores(7).values])
    assert found.draws == pytest.approx([bits_per_dim(v, D) for v in scores(7).draws])
    assert image_scores(trials, tmp_path, "frechet_classifier_gen1") == {}


def test_a_missing_file_leaves_out_its_seed_and_a_damaged_one_is_named(
    kept: Any, tmp_path: Path
) -> None:
    trials = build_tables(kept.entries)["trials"]
    (tmp_path / "trials/tpe.confirm.r0.from0.0001/image_scores.parquet").unlink()
    assert set(image_scores(trials, tmp_path, "calibrated_negative_elbo")["tpe"]) == {101}
    (tmp_path / "trials/sigma.confirm.r0.fixed.0000/image_scores.parquet").write_bytes(
        b"PAR1 no more"
    )
    with pytest.raises(DataError, match="no image scores") as caught:
        image_scores(trials, tmp_path, "calibrated_negative_elbo")
    assert "sigma.confirm" in str(caught.value)


def test_the_error_of_draws_is_that_of_studies_drawn_again() -> None:
    """The estimate against the spread of the mean difference over many sets of fresh draws."""
    random = np.random.default_rng(0)
    n, K, of_hand, of_both = 5, 4, 0.3, 2.0

    def study() -> tuple[dict[int, ImageScores], dict[int, ImageScores]]:
        shared = random.normal(0, of_both, (n, K))  # cancels in the pair
        own = random.normal(0, of_hand, (n, K))
        none = np.zeros(N)
        return (
            {s: ImageScores(none, shared[s] + own[s] + 10 * s) for s in range(n)},
            {s: ImageScores(none, shared[s]) for s in range(n)},
        )

    studies = [study() for _ in range(2000)]
    means = [np.mean([h[s].draws - a[s].draws - 10 * s for s in h]) for h, a in studies]
    estimates = [draw_error(h, a) for h, a in studies]
    assert np.std(means) == pytest.approx(of_hand / sqrt(n * K), rel=0.06)
    assert np.mean(np.square(estimates)) == pytest.approx(of_hand**2 / (n * K), rel=0.06)


def test_one_draw_says_nothing_of_its_error() -> None:
    one = {1: scores(1, draws=1)}
    assert draw_error(one, one) is None
    assert draw_error({1: scores(1)}, {2: scores(2)}) is None
