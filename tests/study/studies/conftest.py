from __future__ import annotations

from pathlib import Path

import harness
import pytest


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The studies' home of :data:`harness.SPEC`'s study, run on one engine, undisturbed."""
    return harness.finish(tmp_path_factory.mktemp("reference") / "studies").home
