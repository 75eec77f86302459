"""A study whose home some hosts do not see, see a stale copy of, or lose."""

from __future__ import annotations

from pathlib import Path

import pytest
from cluster import Cluster
from harness import NAME, Launch, events, judge
from hosts import Hosts

from study.journal.events import EngineChanged, Reported


@pytest.mark.timeout(600)
def test_hosts_that_do_not_see_the_home_train_and_keep_nothing(
    hosts: Hosts, home: Path, reference: Path, tmp_path: Path
) -> None:
    cluster = Cluster(hosts)
    cluster.join("none", "stale", private=[home])
    cluster.join("loses")
    stale = hosts["stale"].folder / home.relative_to("/")
    for folder in ("journal", "engines", "trials"):
        (stale / NAME / folder).mkdir(parents=True)
    (stale / NAME / "journal" / "000001.log").touch()
    before = files(stale)

    run = cluster.launch(home, "--set", "engines.count=4")
    for name in ("none", "stale", "loses"):
        wait_for_report(cluster, run, name, served=name != "loses")
    beneath = tmp_path / "beneath"
    (beneath / NAME / "journal").mkdir(parents=True)
    hosts["loses"].run("mount", "--bind", str(beneath), str(home))

    assert run.end() == 0, run.text()
    began = [e for e in events(home, EngineChanged) if e.state == "started"]
    assert [e.served for e in began if e.host == "loses"] == [False, True]
    for name in ("none", "stale", "loses"):
        assert run.text().count(f"{name} does not see the studies' home") == 1
    assert not (found := judge(home, reference)), found
    assert not cluster.left_over()
    assert files(stale) == before
    assert not files(hosts["none"].folder / home.relative_to("/"))
    assert not files(beneath)


def wait_for_report(cluster: Cluster, run: Launch, name: str, *, served: bool) -> None:
    """Wait until an engine on a host, which has the home in that way, has made a report."""

    def seen() -> bool:
        began = [e for e in events(run.home, EngineChanged) if e.state == "started"]
        engines = {e.engine for e in began if (e.host, e.served) == (name, served)}
        return any(report.engine in engines for report in events(run.home, Reported))

    run.until(seen, f"a report from {name}")
    assert run.code is None, run.text()


def files(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.rglob("*") if path.is_file())
