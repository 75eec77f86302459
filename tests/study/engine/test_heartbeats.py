"""Accounts of engines whose end no driver recorded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from study.journal import Entry
from study.journal.events import EngineChanged
from study.journal.heartbeats import closing, forget, heartbeat_file, last_account, orphans


def beat(home: Path, engine: str, **account: Any) -> None:
    file = heartbeat_file(home, engine)
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps({"engine": engine, "device": "cpu", **account}))


def entries(*events: EngineChanged) -> list[Entry]:
    return [Entry(k, float(k), event) for k, event in enumerate(events)]


def test_an_engine_without_an_end_is_an_orphan_with_its_last_account(tmp_path: Path) -> None:
    beat(tmp_path, "b", seconds={"training": 2.0}, unreported={"t": 1.0})
    beat(tmp_path, "closed")
    known = entries(
        EngineChanged("a", "started"),
        EngineChanged("closed", "started"),
        EngineChanged("closed", "stopped"),
    )
    closed = [closing(account, "lost", "driver") for account in orphans(tmp_path, known)]
    assert closed == [
        EngineChanged("a", "lost", cause="driver"),
        EngineChanged(
            "b",
            "lost",
            device="cpu",
            seconds={"training": 2.0},
            unreported={"t": 1.0},
            cause="driver",
        ),
    ]


def test_a_file_that_is_no_heartbeat_of_its_engine_is_ignored(tmp_path: Path) -> None:
    beat(tmp_path, "a")
    folder = heartbeat_file(tmp_path, "a").parent
    for name, content in {
        "torn": '{"engine": "torn", ',
        "list": "[]",
        "other": '{"engine": "a"}',
        "newer": '{"engine": "newer", "unknown": 1}',
    }.items():
        (folder / f"{name}.json").write_text(content)
        assert last_account(tmp_path, name) == {"engine": name}
    assert [account["engine"] for account in orphans(tmp_path, [])] == ["a"]


def test_nothing_is_left_of_forgotten_heartbeats(tmp_path: Path) -> None:
    beat(tmp_path, "a")
    folder = heartbeat_file(tmp_path, "a").parent
    (folder / ".a.json.partial").touch()
    forget(tmp_path)
    assert not list(folder.iterdir())
    forget(tmp_path)
