from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from vae_core.randomness import SEED_LIMIT, derive, reseeded


@given(st.integers(0, SEED_LIMIT - 1), st.text(max_size=8), st.integers(0, 10**6))
def test_derived_seeds_never_meet_the_ones_a_person_gives(seed: int, name: str, n: int) -> None:
    found = derive(seed, name, n)
    assert 2**62 <= found < 2**63
    assert found > SEED_LIMIT
    assert found == derive(seed, name, n)


def test_every_part_of_a_purpose_counts() -> None:
    seeds = [derive(0, "a", 1), derive(0, "a", 2), derive(0, "b", 1), derive(1, "a", 1)]
    seeds += [derive(0, "a1"), derive(0, "a", "1"), derive(0, "a")]
    assert len(set(seeds)) == len(seeds)


def test_derived_seeds_are_the_same_for_ever() -> None:
    """Studies begun under one version go on under the next: these values may never change."""
    assert derive(3, "init", "weight", 64, 128) == 7965417479224342959
    assert derive(0, "search", 0) == 5291930774476517436


def test_a_draw_does_not_depend_on_what_was_drawn_before() -> None:
    generator = torch.Generator()
    first = torch.randn(5, generator=reseeded(generator, 1, "x"))
    torch.randn(1000, generator=generator)
    assert torch.equal(first, torch.randn(5, generator=reseeded(generator, 1, "x")))
