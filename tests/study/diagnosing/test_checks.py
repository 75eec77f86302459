"""What the facts of several machines mean: states, names of nodes, what refuses a study."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from study.diagnosing.checks import Row, State, all_checks, launch_checks
from study.diagnosing.facts import Facts, Gpu
from study.diagnosing.places import DRIVER, Place, Silent
from study.diagnosing.storage import Storage
from study.engine.parts import ENGINE
from study.spec import EnginesSpec

GIB = 2**30
FACTS = Facts(
    versions={"Python": "3.11.7", "Ray": "2.60.0", "torch": "2.14.1", "study": "0.1.0, code 1"},
    broken={},
    code={},
    cores=4,
    memory=16 * GIB,
    open_files=(65536, 65536),
    shared_memory=GIB,
    socket=72,
    gpus=(),
    torch_gpus=0,
)
STORAGE = Storage(rate=200.0, sync=1.5, replaces=True, links=True)


def place(name: str, *, node: dict[str, Any] | None = None, **facts: Any) -> Place:
    return replace(Place(name, replace(FACTS, **facts), storage=STORAGE), **(node or {}))


def rows(*places: Place | Silent) -> dict[str, Row]:
    return {row.check: row for row in all_checks([place(DRIVER), *places])}


def versions(**changed: str) -> dict[str, str]:
    return {**FACTS.versions, **changed}


def test_where_all_is_well_no_row_names_a_node() -> None:
    found = rows(place("left", node={"offered": 4.0}), place("right", node={"offered": 2.0}))
    assert {row.state for row in found.values()} == {State.OK}
    assert not any(row.remedy for row in found.values())
    assert not any(name in row.found for row in found.values() for name in ("left", "right"))
    assert found["torch"].found == "2.14.1"


@pytest.mark.parametrize(("name", "refuses"), [("torch", False), ("Ray", False), ("study", True)])
def test_versions_that_differ_name_the_nodes(name: str, refuses: bool) -> None:
    found = rows(place("a"), place("b", versions=versions(**{name: "9"})))[name]
    same = FACTS.versions[name]
    assert (found.state, found.refuses) == (State.PROBLEM, refuses)
    assert found.found == f"{same} (driver, a); 9 (b)"


def test_a_part_with_other_code_on_a_node_refuses_the_study() -> None:
    new, old = {"my_vae:Own": "11111111"}, {"my_vae:Own": "22222222"}
    found = rows(place("a", code=new), place("b", code=old))["my_vae:Own"]
    assert (found.state, found.refuses) == (State.PROBLEM, True)
    assert found.found == "11111111 (a); 22222222 (b)"
    assert "my_vae:Own" not in rows(place("a", code=new), place("b"))  # not imported: another row


def test_a_part_that_imports_nowhere_refuses_the_study() -> None:
    own = {"my_vae:Own": "ModuleNotFoundError: No module named 'my_vae'"}
    found = rows(place("a", broken=own), place("b", broken=own))["imports"]
    assert (found.state, found.refuses) == (State.PROBLEM, True)
    assert found.found == "my_vae:Own: ModuleNotFoundError: No module named 'my_vae' (a, b)"
    assert "the study's own modules" in found.remedy
    assert not rows(place("a", broken=own), place("b"))["imports"].refuses
    engine = {ENGINE.path: "ModuleNotFoundError: No module named 'torch'"}
    assert "requirements.txt" in rows(place("a", broken=engine))["imports"].remedy


def in_bfloat16(device: str, *places: Place) -> list[Row]:
    engines = EnginesSpec(device=device, precision="bfloat16")
    return [row for row in launch_checks(places, engines) if row.check == "bfloat16"]


def test_processors_that_cannot_multiply_bfloat16() -> None:
    """Engines on them take ten times as long as in float32, and say nothing."""
    slow, fast = (
        place(name, bfloat16=name == "fast", node={"offered": 2.0}) for name in ("slow", "fast")
    )
    driver = place(DRIVER, bfloat16=False, node={"offered": None})
    (row,) = in_bfloat16("auto", driver, fast, slow)
    assert row.state == State.PROBLEM
    assert not row.refuses
    assert row.found == "no instructions to multiply it (slow)"  # the driver trains nothing there
    assert [row.state for row in in_bfloat16("cpu", driver, fast)] == [State.OK]
    assert [row.found for row in in_bfloat16("auto", driver)] == ["no instructions to multiply it"]
    with_gpu = replace(slow, gpus=1.0)
    assert in_bfloat16("auto", driver, with_gpu) == in_bfloat16("cuda", driver, slow) == []
    assert "bfloat16" not in rows(slow)  # float32 is asked of nobody


def test_a_node_that_does_not_answer() -> None:
    late = Silent("a", "no answer within 20 s")
    bare = Silent("b", "No module named 'study'", runs_no_code=True)
    found = [row for row in launch_checks([place(DRIVER), late, bare]) if row.check == "nodes"]
    assert [(row.found, row.refuses) for row in found] == [
        ("a: no answer within 20 s", False),
        ("b: No module named 'study'", True),
    ]
    beside = [row for row in launch_checks([place("c"), bare]) if row.check == "nodes"]
    assert [row.refuses for row in beside] == [False]
    assert rows(late)["torch"].state == State.OK


@pytest.mark.parametrize(
    ("offset", "doubt", "state", "said"),
    [
        (0.5, 0.01, State.OK, "within 0.51 s"),
        (-30.0, 0.01, State.NOTE, "b is 30 s behind"),
        (80.0, 0.01, State.PROBLEM, "b is 80 s ahead"),
        (3.0, 2.0, State.OK, "within 5.00 s"),  # a slow answer is no wrong clock
    ],
)
def test_clocks(offset: float, doubt: float, state: State, said: str) -> None:
    found = rows(place("a"), place("b", node={"offset": offset, "doubt": doubt}))["clocks"]
    assert (found.state, found.found, found.refuses) == (state, said, False)


@pytest.mark.parametrize(("files", "state"), [(2000, State.NOTE), (900, State.PROBLEM)])
def test_few_open_files(files: int, state: State) -> None:
    found = rows(place("a", open_files=(files, 65536)))["open files"]
    assert (found.state, found.found) == (state, f"65,536 (driver); {files:,} (a)")
    assert "ulimit -n" in found.remedy
    # A driver's Ray raises it as far as it may.
    raised = [row.state for row in all_checks([place(DRIVER, open_files=(files, 65536))])]
    assert set(raised) == {State.OK}


@pytest.mark.parametrize(
    ("facts", "check", "said"),
    [
        ({"shared_memory": 2**26}, "/dev/shm", "1 GiB (driver); 64 MiB (a)"),
        ({"shared_memory": None}, "/dev/shm", "1 GiB (driver); none (a)"),
        ({"socket": 130}, "socket paths", "72 of 107 bytes (driver); 130 of 107 bytes (a)"),
    ],
)
def test_what_is_worth_a_note(facts: dict[str, Any], check: str, said: str) -> None:
    found = rows(place("a", **facts))[check]
    assert (found.state, found.found) == (State.NOTE, said)
    assert found.remedy


@pytest.mark.parametrize(("gpus", "engines"), [(0.0, 4), (8.0, 8)])
def test_a_node_without_memory_for_its_engines(gpus: float, engines: int) -> None:
    node = place("a", memory=GIB, node={"offered": 4.0, "gpus": gpus})
    (found,) = [r for r in launch_checks([place(DRIVER), node]) if r.check == "usable memory"]
    assert (found.state, found.refuses) == (State.PROBLEM, False)
    assert found.found == f"16 GiB (driver); 1 GiB (a); a has room for 2 of {engines} engines"
    assert "engines.count" in found.remedy
    (alone,) = [r for r in launch_checks([place(DRIVER, memory=GIB)]) if r.check == found.check]
    assert alone.found == "1 GiB; driver has room for 2 of 4 engines"


def test_ray_gives_away_more_cores_than_there_are() -> None:
    found = rows(place("a", cores=2, node={"offered": 16.0}))["usable cores"]
    assert (found.state, found.found) == (
        State.NOTE,
        "4 (driver); 2 (a); 16 offered by Ray on a",
    )
    assert "--num-cpus=2" in found.remedy


def test_gpus() -> None:
    two = (Gpu("NVIDIA L4", 24 * GIB),) * 2
    assert rows(place("a", gpus=two, torch_gpus=2))["GPUs"].found == (
        "none (driver); 2 NVIDIA L4, 24 GiB (a)"
    )
    found = rows(place("a", gpus=two, torch_gpus=0))["GPUs"]
    assert (found.state, found.found[-20:]) == (State.PROBLEM, "torch uses less of a")


def test_a_node_without_the_home_is_no_problem() -> None:
    found = rows(place("a"), place("b", node={"storage": None}))["shared home"]
    assert (found.state, found.found) == (State.NOTE, "not by b: served by the driver")
    error = {"storage": None, "home_error": "Permission denied"}
    found = rows(place("a", node=error))["shared home"]
    assert (found.state, found.found) == (State.PROBLEM, "a: Permission denied")


def test_a_file_system_without_hard_links_refuses_the_study() -> None:
    bare = replace(STORAGE, links=False)
    found = {row.check: row for row in all_checks([place(DRIVER, node={"storage": bare})])}
    row = found["home's files"]
    assert (row.state, row.refuses, row.found) == (State.PROBLEM, True, "no hard links")


def test_the_slowest_node_is_named() -> None:
    slow = {"storage": replace(STORAGE, rate=3.0, sync=150.0)}
    found = rows(place("a"), place("b", node=slow))["home's speed"]
    assert (found.state, found.found) == (
        State.NOTE,
        "200 MiB/s, 1.5 ms a sync (driver); 3 MiB/s, 150.0 ms a sync (b)",
    )
