"""The suites, the time limit of a test in the default one, and what all tests share."""

from __future__ import annotations

import os
import re
import resource
import shutil
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, settings
from playwright.sync_api import Browser, sync_playwright

settings.register_profile(  # of a busy machine: no example is slow by itself
    "tests", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("tests")

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
HERE = Path(__file__).parent
FOLDERS = {"studies": HERE / "study" / "studies", "cluster": HERE / "cluster"}
"""By marker, the folder whose tests have it."""
TOGETHER = {
    "smoke": re.compile(r"study/test_smoke|study/exporting/"),
    "theory": re.compile(r"vae_core/theory/"),
}
"""Files that share a fixture which takes long: one process runs them all."""
LIMIT = 20.0
"""Seconds that a test of the default suite may take, without its fixtures."""
OTHER_SUITES = (*FOLDERS, "slow", "gpu", "data")


def _together(nodeid: str) -> str:
    """What is run by one process: the name in ``TOGETHER``, or the file."""
    file = nodeid.partition("::")[0]
    return next((name for name, files in TOGETHER.items() if files.search(file)), file)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of each suite; begin with those ``TOGETHER``, which take longest."""
    for item in items:
        for marker, folder in FOLDERS.items():
            if item.path.is_relative_to(folder):
                item.add_marker(marker)
    smoke = HERE / "study" / "test_smoke.py"  # its time limit has room for the study's run
    items.sort(key=lambda item: (_together(item.nodeid) not in TOGETHER, item.path != smoke))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With ``pytest -n``: files are handed out whole, and in order; those ``TOGETHER`` as one."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _together(nodeid)

    config.option.loadscopereorder = False
    return ByFile(config, log)


@dataclass(frozen=True)
class Clock:
    """Seconds since some moment: passed, worked by this process and its children, idle."""

    wall: float
    worked: float
    idle: float
    """Of all cores together; 0 where the system does not say."""

    @classmethod
    def read(cls) -> Clock:
        usage = [resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        stat = Path("/proc/stat")
        ticks = int(stat.read_text().split(maxsplit=5)[4]) if stat.exists() else 0
        return cls(
            time.perf_counter(),
            sum(used.ru_utime + used.ru_stime for used in usage),
            ticks / os.sysconf("SC_CLK_TCK"),
        )

    def taken_since(self, start: Clock) -> float:
        """Seconds that count against a test's limit.

        On a machine that other programs keep busy a test waits for a core, which is not its fault:
        there, only the processor time of its own process and of those that it waited for counts.
        Where a quarter of the cores' time or more was idle, the whole time counts, so that a test
        that sleeps is found out too.
        """
        wall = self.wall - start.wall
        idle = (self.idle - start.idle) / (wall * (os.cpu_count() or 1))
        return wall if idle >= 0.25 else min(wall, self.worked - start.worked)


def _in_another_suite(item: pytest.Item) -> bool:
    return any(map(item.get_closest_marker, OTHER_SUITES))


_TAKEN = pytest.StashKey[float]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    start = Clock.read()
    try:
        return (yield)
    finally:
        item.stash[_TAKEN] = Clock.read().taken_since(start)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test of the default suite that takes too long."""
    report = yield
    if call.when == "call" and report.passed and not _in_another_suite(item):
        taken = item.stash[_TAKEN]
        if taken > LIMIT:
            report.outcome = "failed"
            report.longrepr = (
                f"{item.nodeid} took {taken:.0f} s, and a test of the default suite may take "
                f"{LIMIT:g} s: move it to the studies suite, or make it faster"
            )
    return report


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A Chromium of this machine; where there is none, tests fail in CI and are skipped elsewhere.

    One a module: as long as Playwright is open its event loop is running, so no other test of the
    process could call ``asyncio.run``.
    """
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        message = f"no browser: one of {', '.join(BROWSERS)} has to be installed"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield opened
        opened.close()
