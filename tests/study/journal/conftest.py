from __future__ import annotations

from pathlib import Path

import pytest
from journals import late, launch, tear


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a study of four launches.

    The first was killed as it wrote a group, the second was taken over and wrote on, the third
    ended well, the fourth is the newest.
    """
    home = tmp_path_factory.mktemp("kept")
    tear(launch(home, 3, seed=1))
    second = launch(home, 3, seed=2)
    third = launch(home, 2, seed=3)
    late(second)
    third.close()
    fourth = launch(home, 3, seed=4)
    assert [entry.sequence for entry in fourth.entries] == list(range(len(fourth.entries)))
    return home
