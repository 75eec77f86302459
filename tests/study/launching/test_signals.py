"""Signals to a launch, sent by the test to itself."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from study.launching.signals import SUSPENDING, Signals


@pytest.fixture
def _hangups() -> Iterator[None]:
    former = signal.getsignal(signal.SIGHUP)
    yield
    signal.signal(signal.SIGHUP, former)


@pytest.mark.usefixtures("_hangups")
def test_a_terminal_that_closes_suspends_once_however_often_that_is_said() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    suspended: list[bool] = []
    with Signals() as signals:
        signals.hand_over(lambda: suspended.append(True), SUSPENDING)
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGHUP)
    assert suspended == [True]
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL


@pytest.mark.usefixtures("_hangups")
def test_under_nohup_it_changes_nothing() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with Signals() as signals:
        signals.hand_over(lambda: pytest.fail("suspended"), SUSPENDING)
        os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
