from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_bench import Bench

from vae_core.data import PreparedData


@pytest.fixture
def bench(tmp_path: Path, digits: PreparedData) -> Iterator[Bench]:
    found = Bench(tmp_path, digits)
    yield found
    for engine in found.engines:
        engine.stop()
