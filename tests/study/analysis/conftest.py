from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from streams import AUTOMATIC, HAND, Stream

from study.journal.events import StudyFinished


@pytest.fixture
def make_stream() -> Callable[..., Stream]:
    """A new stream; by default with one hand-tuned arm `tpe` and one automatic arm `sigma`."""

    def make(arms: Mapping[str, Any] | None = None, **settings: Any) -> Stream:
        return Stream(arms or {"tpe": HAND, "sigma": AUTOMATIC}, **settings)

    return make


@pytest.fixture(scope="module")
def make_module_stream() -> Callable[[], Stream]:
    """As ``make_stream``, for what makes many in one test."""
    return lambda: Stream({"tpe": HAND, "sigma": AUTOMATIC})


@pytest.fixture
def arms() -> dict[str, Mapping[str, Any]]:
    """The two kinds of arm, as spec dicts."""
    return {"hand": HAND, "automatic": AUTOMATIC}


@pytest.fixture
def whole(make_stream: Callable[..., Stream]) -> Stream:
    """A finished study: tpe wins by 0.4 on average for 1000 + 500 + 0 + 1000 + 1000 images."""
    return told(make_stream())


@pytest.fixture(scope="module")
def module_whole(make_module_stream: Callable[[], Stream]) -> Stream:
    """As ``whole``, for a whole module."""
    return told(make_module_stream())


def told(stream: Stream) -> Stream:
    stream.search("tpe", [10.0, 9.0 + 1e6, None, 8.0])
    stream.confirm("tpe", {101: 9.0, 102: 9.2, 103: 9.1}, chosen_from=3)
    stream.confirm("sigma", {101: 9.4, 102: 9.5, 103: 9.6})
    stream.stop_engine(training=17.0, evaluation=9.25, idle=6.0)
    stream.emit(StudyFinished())
    return stream
