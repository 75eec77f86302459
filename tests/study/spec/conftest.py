"""A small study to change one thing of, and a file to write it to."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from study.spec import SpecError, load_spec

BASE: dict[str, Any] = {
    "name": "small",
    "data": "digits",
    "model": {"name": "mlp", "latent": 8, "width": 64},
    "training": {"epochs": 2},
    "arms": {
        "random": {
            "balancer": "fixed_beta",
            "search": {"space": {"beta": {"low": 1e-3, "high": 10, "log": True}}, "trials": 8},
        },
        "learned": {"balancer": "learned_sigma"},
    },
}


@pytest.fixture
def base() -> Callable[..., dict[str, Any]]:
    """Makes a copy of the small study, with top-level keys replaced."""
    return lambda **changes: {**copy.deepcopy(BASE), **changes}


@pytest.fixture
def searching(base: Any) -> Callable[..., dict[str, Any]]:
    """Makes the small study with one arm ``a`` that searches a space."""

    def make(space: Any, balancer: Any = "fixed_beta", **search: Any) -> dict[str, Any]:
        search = {"space": space, "trials": 8, **search}
        return base(arms={"a": {"balancer": balancer, "search": search}})

    return make


@pytest.fixture
def refused(tmp_path: Path) -> Callable[..., SpecError]:
    """Writes a study (a dict, or the text of a file), loads it, and returns the error."""

    def load(content: Any, *overrides: str) -> SpecError:
        file = tmp_path / "study.yaml"
        text = content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False)
        file.write_text(text)
        with pytest.raises(SpecError) as caught:
            load_spec(file, overrides)
        return caught.value

    return load


@pytest.fixture
def where(tmp_path: Path) -> Callable[[int, str], str]:
    """The place an error about a key on a line names."""
    return lambda line, key: f"{tmp_path / 'study.yaml'}:{line}: {key}"
