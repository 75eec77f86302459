"""Top-level keys that begin with ``x-``: a place for YAML's anchors, and no part of the study."""

from typing import Any

import pytest

from study.spec import load_spec

PLAIN = """\
name: small
data: digits
model: {name: mlp, latent: 8}
training: {epochs: 2, lr: 1e-3}
seeds: [101, 102, 103]
arms:
  one: {balancer: fixed_beta, search: {space: {beta: {low: 0.1, high: 10, log: true}}, trials: 4}}
  two: {balancer: fixed_beta, search: {space: {beta: {low: 0.1, high: 10, log: true}}, trials: 4}}
"""
ANCHORED = """\
x-lr: &lr 1e-3
x-search: &search
  space: {beta: {low: 0.1, high: 10, log: true}}
  trials: 4
name: small
data: digits
model: {name: mlp, latent: 8}
training: {epochs: 2, lr: *lr}
seeds: {from: 101, count: 3}
arms:
  one: {balancer: fixed_beta, search: *search}
  two: {balancer: fixed_beta, search: {<<: *search, trials: 4}}
x-unused: [whatever, 3]
"""


@pytest.fixture
def load(tmp_path: Any) -> Any:
    def load(text: str, *overrides: str) -> Any:
        file = tmp_path / "study.yaml"
        file.write_text(text)
        return load_spec(file, overrides)

    return load


def test_a_file_with_anchors_and_a_range_is_the_study_it_spells_out(load: Any) -> None:
    plain, anchored = load(PLAIN), load(ANCHORED)
    assert anchored.to_dict() == plain.to_dict()
    assert anchored.hash == plain.hash


def test_what_an_anchor_says_counts_where_it_is_used(load: Any) -> None:
    changed = ANCHORED.replace("&lr 1e-3", "&lr 2e-3").replace("trials: 4\nname", "trials: 5\nname")
    found = load(changed)
    assert found.training.lr == 2e-3
    assert found.arms["one"].search.trials == 5
    assert found.hash != load(PLAIN).hash
    assert load(ANCHORED, "training.lr=5e-3").training.lr == 5e-3


def test_an_error_in_an_anchor_names_the_key_that_uses_it(refused: Any, where: Any) -> None:
    error = refused(ANCHORED.replace("trials: 4\nname", "trials: 0\nname"))
    assert error.where == where(4, "arms.one.search.trials")


@pytest.mark.parametrize("key", ["x_search", "X-search", "xsearch"])
def test_keys_that_do_not_begin_so_are_unknown(refused: Any, key: str) -> None:
    error = refused(ANCHORED.replace("x-unused", key))
    assert error.what == f"unknown key '{key}'"


def test_below_the_top_such_a_key_is_unknown(refused: Any) -> None:
    error = refused(PLAIN.replace("{epochs: 2,", "{x-epochs: 2,"))
    assert error.what == "unknown key 'x-epochs'"


def test_a_file_of_anchors_alone_is_no_study(refused: Any) -> None:
    assert refused("x-lr: 3\n").what == "'name' is missing"
