import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vae_core.data import validation_count
from vae_core.data.splits import hold_out, splitmix64
from vae_core.errors import DataError


def test_the_hash_is_splitmix64():
    # The first outputs of the reference generator seeded with 0, whose state grows by the constant.
    state = np.uint64(0x9E3779B97F4A7C15) * np.arange(3, dtype=np.uint64)
    assert [hex(v) for v in splitmix64(state)] == [
        "0xe220a8397b1dcdaf",
        "0x6e789e6aa1b965f4",
        "0x6c45d188009454f",
    ]


@given(st.integers(1, 3000), st.data())
def test_a_split_covers_all_rows_once_and_in_order(n, data):
    count = data.draw(st.integers(0, n))
    kept, held = hold_out(n, count)
    assert len(held) == count
    assert sorted([*kept, *held]) == list(range(n))
    assert (np.diff(kept) > 0).all()
    assert (np.diff(held) > 0).all()


def test_a_split_never_changes():
    assert hold_out(20, 5)[1].tolist() == [3, 10, 11, 16, 18]


def test_a_larger_hold_out_contains_the_smaller():
    assert set(hold_out(1000, 50)[1]) < set(hold_out(1000, 200)[1])


def test_held_out_rows_are_spread_evenly():
    held = hold_out(60_000, 6_000)[1]
    per_tenth = np.histogram(held, bins=10, range=(0, 60_000))[0]
    assert per_tenth.min() > 500
    assert per_tenth.max() < 700


@pytest.mark.parametrize(
    ("validation", "count"), [(0.1, 150), (297, 297), (0.5, 750), (1499, 1499)]
)
def test_validation_is_a_count_or_a_share(validation, count):
    assert validation_count(1500, validation) == count


@pytest.mark.parametrize("validation", [0, -1, 1500, 1501, 0.0, 1.0, 1e-9, -0.5, 2.0])
def test_a_validation_split_that_empties_a_part_is_refused(validation):
    with pytest.raises(DataError, match=f"validation {validation} takes"):
        validation_count(1500, validation)
