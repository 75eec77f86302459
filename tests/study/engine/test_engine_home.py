"""An engine's home: in the file system, through the driver's node, and which of the two."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from engine_bench import config, fetch, follow, makers, numbers, request

from study.engine.engine import Engine
from study.engine.home import (
    INLINE,
    LARGEST,
    FencedError,
    HomeFiles,
    HomeLostError,
    ServedHome,
    in_parts,
    meet,
)
from study.journal import journal_file
from study.journal.heartbeats import forget, last_account
from study.journal.marks import leave_mark, sees_mark
from study.scheduling.relay import Relay
from vae_core.data import prepare


class Study:
    """A launched study's home as its driver sees it, and engines on other nodes."""

    def __init__(self, studies: Path) -> None:
        self.home = studies / "s"
        journal_file(self.home, 1).parent.mkdir(parents=True)
        journal_file(self.home, 1).touch()
        self.data = prepare({"name": "digits"}, studies / "data")
        self.mark = leave_mark(self.home)
        self.files = HomeFiles(self.home, 1, "none", self.mark)
        self.calls: list[str] = []
        self.engines: list[Engine] = []

    def call(self, verb: str, *arguments: Any) -> Any:
        self.calls.append(verb)
        plain, parts = in_parts(arguments)
        return asyncio.run(Relay(self.files).home(verb, plain, *parts))

    def engine(self, store: Path | None, **evaluation: Any) -> Engine:
        """An engine on a node that has the home through the driver's, or with it."""
        engine = Engine(config(f"e{len(self.engines)}", self.home, **evaluation))
        engine.home = self.files if store is None else ServedHome(self.call, store)
        engine.prepare(self.data.to_dict(), 220, 1)
        self.engines.append(engine)
        return engine


@pytest.fixture
def study(tmp_path: Path) -> Iterator[Study]:
    study = Study(tmp_path / "studies")
    yield study
    for engine in study.engines:
        engine.stop()


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("size", [0, INLINE, INLINE + 1, 3 * INLINE, LARGEST, LARGEST + 1])
def test_a_checkpoint_of_middling_size_is_sent_in_parts(size: int) -> None:
    payload = bytes(range(256)) * (size // 256) + bytes(size % 256)
    plain, parts = in_parts(("t", 3, payload))
    assert plain == (("t", 3) if parts else ("t", 3, payload))
    assert bool(parts) == (INLINE < size <= LARGEST)
    assert b"".join(parts) == (payload if parts else b"")
    assert all(0 < len(part) <= INLINE for part in parts)
    assert in_parts(()) == ((), [])


def test_an_engine_that_does_not_see_the_home_leaves_the_same_in_it(
    study: Study, tmp_path: Path
) -> None:
    seen = follow(study.engine(None), request("seen", phase="confirm"))
    served = follow(study.engine(tmp_path / "node"), request("served", phase="confirm"))
    assert numbers(served) == [row.replace("trials/seen", "trials/served") for row in numbers(seen)]
    trials = study.home / "trials"
    assert files(trials / "served").keys() == files(trials / "seen").keys()
    for name, content in files(trials / "served").items():
        if not name.endswith(".ckpt"):  # times are in it
            assert content == (trials / "seen" / name).read_bytes()
    assert not [p for p in (tmp_path / "node").rglob("*") if p.suffix == ".ckpt"]


def test_trials_move_between_engines_that_see_the_home_and_others(
    study: Study, tmp_path: Path
) -> None:
    whole = follow(study.engine(None), request("whole"))
    rows: list[str] = []
    for number, node in enumerate([tmp_path / "a", None, tmp_path / "b", tmp_path / "a"]):
        engine = study.engine(node)
        engine.admit(request("moved", after=number, until=number + 1))
        found = fetch(engine, "moved", 1)
        engine.release("moved")
        assert makers(found) == [engine.config.name]
        rows += numbers(found)
    assert rows == numbers(whole)


def test_images_and_what_was_computed_of_them_are_copied_once_a_node(
    study: Study, tmp_path: Path
) -> None:
    measured = {"features": ["classifier"], "samples": 50}
    first = study.engine(tmp_path / "a", **measured)
    there = sorted(path.name for path in (study.home.parent / "data").glob("*.kept"))
    assert len(there) == 3, "the classifier, and its features of validation and test"
    study.calls.clear()
    study.engine(tmp_path / "a", **measured)
    assert not {"part", "keep"} & set(study.calls)
    study.engine(tmp_path / "b", **measured)
    assert "part" in study.calls
    assert "keep" not in study.calls
    assert first.home is not None


def test_of_two_nodes_that_computed_the_same_the_first_counts(study: Study, tmp_path: Path) -> None:
    home = ServedHome(study.call, tmp_path / "a")
    prepared, _ = home.data(study.data, None)
    mine = Path(prepared.files["train"]).with_name("digits-x.kept")
    theirs = Path(study.data.files["train"]).with_name("digits-x.kept")
    mine.write_bytes(b"mine")
    theirs.write_bytes(b"theirs")
    assert not home.share(prepared)
    assert mine.read_bytes() == theirs.read_bytes() == b"theirs"
    assert home.share(prepared)


def test_a_copy_is_whole_or_not_there(study: Study, tmp_path: Path) -> None:
    def breaking(verb: str, *arguments: Any) -> Any:
        if verb == "part" and arguments[1]:
            raise HomeLostError("the driver has ended")
        return study.call(verb, *arguments)

    with pytest.raises(HomeLostError):
        ServedHome(breaking, tmp_path / "a").data(study.data, None)
    assert not files(tmp_path / "a")
    prepared, _ = ServedHome(study.call, tmp_path / "a").data(study.data, None)
    for split, path in prepared.files.items():
        assert Path(path).read_bytes() == Path(study.data.files[split]).read_bytes()


@pytest.mark.parametrize("verb", ["part", "keep"])
def test_only_the_data_store_is_copied(study: Study, verb: str, tmp_path: Path) -> None:
    (tmp_path / "studies" / "secret").write_text("not for engines")
    for path in ("secret", "data/../secret", "s/journal/000001.log"):
        arguments: tuple[Any, ...] = (0,) if verb == "part" else (b"x",)
        with pytest.raises(PermissionError, match="not in the studies' data store"):
            study.call(verb, str(tmp_path / "studies" / path), *arguments)


class TestMeeting:
    def configured(self, study: Study, home: Path) -> Any:
        found = config("e", home)
        return type(found)(**{**vars(found), "mark": study.mark})

    def test_a_node_that_sees_the_home(self, study: Study, tmp_path: Path) -> None:
        found = meet(self.configured(study, study.home), study.call, tmp_path)
        assert isinstance(found, HomeFiles)
        found.check()

    def test_a_node_without_it(self, study: Study, tmp_path: Path) -> None:
        found = meet(self.configured(study, tmp_path / "nowhere"), study.call, tmp_path)
        assert isinstance(found, ServedHome)
        assert not (tmp_path / "nowhere").exists()

    def test_a_copy_of_it_from_before_the_launch(self, study: Study, tmp_path: Path) -> None:
        copy = tmp_path / "copy"
        shutil.copytree(study.home, copy, ignore=shutil.ignore_patterns("*.mark"))
        before = files(copy)
        assert isinstance(meet(self.configured(study, copy), study.call, tmp_path), ServedHome)
        assert files(copy) == before

    def test_a_copy_that_is_brought_up_to_date_one_way(self, study: Study, tmp_path: Path) -> None:
        copy = tmp_path / "copy"
        shutil.copytree(study.home, copy)
        assert isinstance(meet(self.configured(study, copy), study.call, tmp_path), ServedHome)


class TestLosing:
    def test_a_home_that_goes_ends_the_engine_and_nothing_is_written_there(
        self, study: Study, tmp_path: Path
    ) -> None:
        engine = study.engine(None)
        engine.admit(request("long", training={"epochs": 10_000, "reports": 10_000}))
        fetch(engine, "long", 2)
        study.home.rename(tmp_path / "away")
        (study.home / "journal").mkdir(parents=True)  # what lay under the mount
        with pytest.raises(RuntimeError, match="engine e0 failed") as failed:
            engine.serve()
        assert isinstance(failed.value.__cause__, HomeLostError)
        assert not files(study.home)

    def test_a_trial_does_not_begin_anew_where_its_checkpoints_are_out_of_sight(
        self, study: Study, tmp_path: Path
    ) -> None:
        study.files.save("t", 1, b"trained")
        assert study.files.checkpoint("t") == (1, b"trained")
        study.home.rename(tmp_path / "away")
        (study.home / "journal").mkdir(parents=True)  # what lay under the mount
        with pytest.raises(HomeLostError):
            study.files.checkpoint("t")

    def test_a_takeover_is_told_from_a_loss(self, study: Study) -> None:
        study.files.check()
        journal_file(study.home, 2).touch()
        forget(study.home)  # as the next driver does
        assert not sees_mark(study.home, study.mark)
        computed = study.home.parent / "data" / "digits-x.kept"
        for act in (
            lambda: study.files.save("t", 1, b""),
            lambda: study.files.write("t", "model.pt", b""),
            lambda: study.files.beat("e", {}),
            lambda: study.files.keep(str(computed), b""),
        ):
            with pytest.raises(FencedError):
                act()
        assert not (study.home / "trials").exists()
        assert not computed.exists()

    def test_a_removed_study_is_a_loss(self, study: Study) -> None:
        shutil.rmtree(study.home)
        with pytest.raises(HomeLostError):
            study.files.check()


def test_a_heartbeat_reaches_the_home(study: Study, tmp_path: Path) -> None:
    account = {"engine": "e", "device": "cpu"}
    ServedHome(study.call, tmp_path).beat("e", account)
    assert last_account(study.home, "e") == account
