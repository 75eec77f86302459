"""Dropout with stateless masks: their statistics, what they depend on, and torch's own formulas."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from vae_core.models.dropout import ALPHA, make_stateless, restart
from vae_core.philox import philox

N = 100_000
CHANNELS = {
    nn.Dropout1d: ((40, 50, 7), (50, 7)),
    nn.Dropout2d: ((40, 50, 3, 5), None),
    nn.Dropout3d: ((40, 50, 2, 3, 4), (50, 2, 3, 4)),
    nn.FeatureAlphaDropout: ((40, 50, 3, 5), None),
}


def made(*layers: nn.Module, seed: int = 3) -> nn.Sequential:
    """The layers in training mode, as :func:`build` would leave them."""
    model = nn.Sequential(*layers)
    make_stateless(model)
    restart(model, seed)
    return model.train()


def mask(model: nn.Module, shape: tuple[int, ...] = (N,)) -> Tensor:
    """1 where the next call keeps a value, 0 where it drops it."""
    found: Tensor = model(torch.ones(shape))
    return (found != 0).double()


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_the_share_that_is_kept_is_binomial_and_the_mean_stays(p: float) -> None:
    model = made(nn.Dropout(p))
    kept = torch.stack([mask(model) for _ in range(8)])
    spread = math.sqrt(p * (1 - p) / N)
    assert (kept.mean(dim=1) - (1 - p)).abs().max() < 4.5 * spread
    assert abs(float(kept.mean()) - (1 - p)) < 4.5 * spread / math.sqrt(8)
    # Var of a kept value is p / (1 - p).
    mean = float(model(torch.ones(N)).double().mean())
    assert abs(mean - 1) < 4.5 * math.sqrt(p / (1 - p) / N)


def test_masks_of_calls_layers_seeds_and_neighbours_in_space_are_uncorrelated() -> None:
    model = made(nn.Dropout(0.5), nn.Dropout(0.5))
    masks = [mask(model[0]), mask(model[0]), mask(model[1]), mask(made(nn.Dropout(0.5), seed=4))]
    masks += [masks[0].roll(shift) for shift in (1, 2, 7, N // 8, N // 4, N // 2)]
    found = torch.corrcoef(torch.stack(masks)) - torch.eye(len(masks))
    # Of independent masks a correlation has spread N^-1/2: 45 pairs, 1e-4 in all above 4.7.
    assert float(found.abs().max()) < 4.7 / math.sqrt(N)


def test_a_mask_depends_on_seed_name_and_call_alone() -> None:
    first, again = made(nn.Dropout(0.3)), made(nn.Dropout(0.3), nn.Linear(2, 2))
    torch.manual_seed(1)
    one = [mask(first) for _ in range(3)]
    torch.manual_seed(2)
    two = [mask(again[0]) for _ in range(3)]
    assert all(map(torch.equal, one, two))
    restart(first, 3)
    assert torch.equal(mask(first), one[0])


def test_a_mask_is_made_of_philox_words_by_hand() -> None:
    model = made(nn.Dropout(0.25))
    layer, count = model[0], 40
    key = int(layer.key)
    for call in range(2):
        words = [
            philox(
                tuple(map(torch.tensor, (block, call, 0, 0))),  # type: ignore[arg-type]
                (torch.tensor(key & 0xFFFFFFFF), torch.tensor(key >> 32)),
            )
            for block in range(count // 8)
        ]
        parts = [
            [int(w[i]) >> shift & 0xFFFF for w in words] for i in range(4) for shift in (0, 16)
        ]
        expected = torch.tensor(parts).flatten() >= 2**14
        assert torch.equal(mask(model, (count,)) == 1, expected)


def test_nothing_is_drawn_in_evaluation_and_nothing_of_it_is_saved() -> None:
    model = made(nn.Dropout(0.5), nn.AlphaDropout(0.5)).eval()
    x, before = torch.randn(5, 4), torch.get_rng_state()
    assert model(x) is x
    assert int(model[0].calls) == 0
    model.train()(x)
    assert int(model[0].calls) == 1
    assert model.state_dict() == {}
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_all_or_nothing(p: float) -> None:
    x = torch.rand(6, 5) + 1
    for layer in (nn.Dropout(p), nn.AlphaDropout(p), nn.Dropout1d(p)):
        assert torch.equal(made(layer)(x), (1 - p) * x)


@pytest.mark.parametrize("kind", CHANNELS, ids=lambda kind: kind.__name__)
def test_channels_are_dropped_whole_with_and_without_a_batch(kind: type[nn.Module]) -> None:
    for shape, channels in zip(CHANNELS[kind], ((40, 50), (50,)), strict=True):
        if shape is None:
            continue
        dropped = made(kind(0.5))(torch.ones(shape)).flatten(len(channels))
        assert torch.equal(dropped, dropped[..., :1].expand_as(dropped))
        values, counts = dropped[..., 0].unique(return_counts=True)
        assert len(values) == 2
        assert (counts / math.prod(channels) - 0.5).abs().max() < 2.5 / math.sqrt(
            math.prod(channels)
        )


def test_alpha_dropout_keeps_mean_and_variance_and_has_torchs_two_values() -> None:
    x = torch.randn(N)
    found = made(nn.AlphaDropout(0.2))(x).double()
    assert abs(float(found.mean())) < 4.5 / math.sqrt(N)
    assert abs(float(found.var()) - 1) < 0.03
    ours = made(nn.AlphaDropout(0.2))(torch.zeros(N)).unique()
    torch.manual_seed(0)
    torch.testing.assert_close(ours, nn.AlphaDropout(0.2)(torch.zeros(N)).unique())
    scale, alpha = 1.0507009873554805, 1.6732632423543772  # SELU's
    assert pytest.approx(scale * alpha) == ALPHA


def test_in_place_means_in_place() -> None:
    x = torch.ones(20)
    assert made(nn.Dropout(0.5, inplace=True))(x) is x
    assert set(x.tolist()) == {0.0, 2.0}


def test_a_layer_of_ones_own_and_shared_references_stay() -> None:
    class Own(nn.Dropout):
        def forward(self, x: Tensor) -> Tensor:
            return x + 1

    shared, own = nn.Dropout(0.5), Own(0.5)
    model = made(shared, own, shared)
    assert model[0] is shared
    assert model[2] is shared
    assert type(model[1]) is Own


OPTIONS = {
    "plain": {},
    "no bias": {"bias": False},
    "other sizes": {"kdim": 5, "vdim": 6},
    "bias_kv": {"add_bias_kv": True},
    "zero": {"add_zero_attn": True, "add_bias_kv": True},
}


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_attention_that_drops_nothing_is_torchs(
    options: dict[str, object], batched: bool, batch_first: bool
) -> None:
    """With masks, and the weights averaged or not; a probability of 1e-9 is rounded to 0."""
    torch.manual_seed(0)
    plain = nn.MultiheadAttention(8, 2, batch_first=batch_first, **options)  # type: ignore[arg-type]
    dropping = nn.MultiheadAttention(8, 2, 1e-9, batch_first=batch_first, **options)  # type: ignore[arg-type]
    dropping.load_state_dict(plain.state_dict())
    make_stateless(dropping)
    assert dropping.state_dict().keys() == plain.state_dict().keys()

    def inputs(length: int, size: int) -> Tensor:
        x = torch.randn(3, length, size)
        return x[0] if not batched else x if batch_first else x.transpose(0, 1)

    query, key, value = inputs(4, 8), inputs(7, plain.kdim), inputs(7, plain.vdim)
    padding = torch.zeros(3, 7, dtype=torch.bool)
    padding[:, 5:] = True
    masks: list[dict[str, object]] = [
        {},
        {"attn_mask": torch.randn(4, 7), "average_attn_weights": False},
        {"key_padding_mask": padding if batched else padding[0]},
        {"need_weights": False},
    ]
    for training in (True, False):
        for masked in masks:
            found, weights = dropping.train(training)(query, key, value, **masked)
            expected, others = plain.train(training)(query, key, value, **masked)
            torch.testing.assert_close(found, expected)
            assert (weights is None) == (others is None)
            if others is not None:
                torch.testing.assert_close(weights, others)


def test_attention_drops_weights_and_keeps_the_mean() -> None:
    """Its output is linear in the weights, so its mean over masks is that without dropout."""
    model = made(nn.MultiheadAttention(4, 2, dropout=0.3))[0]
    count = 5000
    x = torch.randn(5, 1, 4).expand(5, count, 4)  # one sequence, again and again
    draws, weights = model(x, x, x, average_attn_weights=False)
    share = float((weights == 0).double().mean())
    assert abs(share - 0.3) < 4.5 * math.sqrt(0.21 / weights.numel())
    expected = model.eval()(x, x, x)[0]
    error = draws.std(dim=1) / math.sqrt(count)
    assert bool(((draws.mean(dim=1) - expected[:, 0]).abs() < 5 * error + 1e-6).all())


def test_the_share_that_attention_drops_is_still_there_to_be_read() -> None:
    """A model that computes attention by itself, from its layer's settings, is not silenced."""
    model = made(nn.MultiheadAttention(4, 2, dropout=0.3))[0]
    x = torch.randn(5, 3, 4)
    model(x, x, x)
    assert model.dropout == 0.3


def test_attention_trains_the_projection_that_it_evaluates_with() -> None:
    class Adapted(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + 1

    model = made(nn.MultiheadAttention(4, 2, dropout=0.3))[0]
    model.weights_dropout.p = 0.0
    adapted = Adapted(4, 4)
    adapted.load_state_dict(model.out_proj.state_dict())
    model.out_proj = adapted
    x = torch.randn(5, 3, 4)
    trained = model(x, x, x)[0]
    torch.testing.assert_close(trained, model.eval()(x, x, x)[0])
