from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from vae_core.philox import halves, normals, philox, uniforms
from vae_core.randomness import derive

N = 200_000


def words(*values: int) -> tuple[Tensor, ...]:
    return tuple(torch.tensor(value) for value in values)


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        (
            (0, 0, 0, 0),
            (0, 0),
            (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8),
        ),
        (
            (0xFFFFFFFF,) * 4,
            (0xFFFFFFFF,) * 2,
            (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
        ),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_the_words_are_those_of_the_authors_known_answers(
    counter: tuple[int, ...], key: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    found = philox(words(*counter), words(*key))  # type: ignore[arg-type]
    assert tuple(int(word) for word in found) == expected


def test_uniforms_are_uniform_and_below_one() -> None:
    drawn = uniforms(torch.tensor([derive(1, "u")]), torch.tensor([5]), N)[0].double()
    assert drawn.shape == (N,)
    assert 0 <= float(drawn.min()) < float(drawn.max()) < 1
    share = torch.histc(drawn, bins=50, min=0, max=1) / N
    # Pearson's chi squared with 49 degrees of freedom: 1e-4 above 94.
    assert float(((share - 0.02) ** 2 / 0.02).sum() * N) < 94


def test_halves_of_words_are_uniform() -> None:
    drawn = halves(torch.tensor([derive(1, "h")]), torch.tensor([5]), N + 3)[0]
    assert drawn.shape == (N + 3,)
    assert 0 <= int(drawn.min()) < int(drawn.max()) < 2**16
    for byte in (drawn >> 8, drawn & 0xFF):  # chi squared, 255 degrees of freedom: 1e-4 above 346
        expected = len(drawn) / 256
        assert float(((byte.bincount() - expected) ** 2 / expected).sum()) < 346


def test_normals_have_the_moments_and_tails_of_the_normal_distribution() -> None:
    drawn = normals(torch.tensor([derive(2, "n")]), torch.tensor([0]), N)[0].double()
    for power, moment in ((1, 0), (2, 1), (3, 0), (4, 3)):
        spread = math.sqrt(
            math.prod(range(1, 4 * power, 2)) / N
        )  # of a mean of x^(2 power) at most
        assert float((drawn**power).mean()) == pytest.approx(moment, abs=5 * spread)
    for bound in (1.0, 2.0, 3.0):
        beyond = math.erfc(bound / math.sqrt(2))
        found = float((drawn.abs() > bound).double().mean())
        assert found == pytest.approx(beyond, abs=5 * math.sqrt(beyond / N))


def test_streams_and_steps_are_unrelated_and_do_not_depend_on_who_else_draws() -> None:
    keys = torch.tensor([derive(seed, "latent") for seed in range(3)])
    steps = torch.tensor([[7, 9, 7], [8, 2**33, 0]])
    together = normals(keys, steps, 1001)
    assert together.shape == (2, 3, 1001)
    for n in range(2):
        for k in range(3):
            alone = normals(keys[k : k + 1], steps[n, k : k + 1], 1001)
            assert torch.equal(together[n, k], alone[0])
    flat = together.flatten(0, 1).double()
    related = torch.corrcoef(flat) - torch.eye(6)
    assert float(related.abs().max()) < 5 / math.sqrt(1001)
