"""What is known of nodes: where engines may be, and where they do not start."""

from __future__ import annotations

import socket
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from study.scheduling import nodes as module
from study.scheduling.nodes import LONGEST, TRIES, Nodes, last_line


class Cluster:
    """Stands for what Ray says: nodes by id, those that drain, and the clock."""

    def __init__(self) -> None:
        self.nodes: dict[str, dict[str, Any]] = {}
        self.draining: dict[str, int] = {}
        self.head, self.now = "127.0.0.1:1", 100.0

    def add(self, node: str, port: int = 1, **resources: float) -> None:
        self.nodes[node] = {
            "NodeID": node,
            "Alive": True,
            "NodeManagerHostname": f"host-{node}",
            "NodeManagerAddress": "127.0.0.1",
            "NodeManagerPort": port,
            "Resources": resources,
        }


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    cluster = Cluster()
    context = SimpleNamespace(gcs_address=cluster.head, get_node_id=lambda: "a")
    monkeypatch.setattr(module.ray, "get_runtime_context", lambda: context)
    monkeypatch.setattr(module.ray, "nodes", lambda: [*cluster.nodes.values()])
    monkeypatch.setattr(module.state, "get_draining_nodes", lambda: cluster.draining)
    monkeypatch.setattr(module.time, "monotonic", lambda: cluster.now)
    cluster.add("a", CPU=2)
    cluster.add("b", CPU=4, GPU=1)
    return cluster


def test_engines_are_for_living_nodes_that_do_not_drain(cluster: Cluster) -> None:
    assert Nodes("cuda").rooms() == {"b": 1}
    nodes = Nodes("cpu")
    assert nodes.rooms() == {"a": 2, "b": 4}
    cluster.add("c", CPU=1)
    cluster.nodes["a"] = {**cluster.nodes["a"], "Alive": False}
    cluster.draining["b"] = 7
    assert nodes.rooms() == {"a": 2, "b": 4}, "as of the last look"
    nodes.look()
    assert (nodes.rooms(), nodes.barred()) == ({"c": 1}, ["b"])
    assert nodes.drains("b")
    assert not nodes.none_left


def test_a_node_where_engines_do_not_start_is_tried_again_later_and_then_given_up(
    cluster: Cluster,
) -> None:
    nodes, said = Nodes("cpu"), []
    for wait in (1, 2, 4):
        cluster.now += 1
        assert not said or nodes.in_doubt
        said.append(nodes.failed("a", cluster.now, "ImportError: gone"))
        assert nodes.next_try == cluster.now + wait
    assert len(said) == TRIES
    assert said[0] == "an engine does not start on host-a (127.0.0.1): ImportError: gone"
    assert said[1] == ""
    assert said[2].startswith("no more engines are placed on host-a (127.0.0.1)")
    assert (nodes.barred(), nodes.rooms()) == (["a"], {"b": 4})
    assert nodes.failure() == ("a", "ImportError: gone")
    assert not nodes.in_doubt
    assert not nodes.none_left
    for _ in range(TRIES):
        cluster.now += 1
        nodes.failed("b", cluster.now, "ImportError: gone")
    assert nodes.none_left


def test_engines_asked_for_together_fail_once_and_one_that_starts_clears_its_node(
    cluster: Cluster,
) -> None:
    nodes, asked = Nodes("cpu"), cluster.now
    for _ in range(2 * TRIES):
        cluster.now += 1
        nodes.failed("b", asked, "killed")
    assert nodes.rooms() == {"a": 2, "b": 4}
    nodes.started("b")
    assert not nodes.in_doubt
    assert nodes.failed("b", cluster.now, "killed"), "said again"


def test_an_unnamed_node_is_never_given_up_but_tried_ever_less_often(cluster: Cluster) -> None:
    nodes = Nodes("cpu")
    for _ in range(10):
        cluster.now += 1
        nodes.failed(None, cluster.now, "killed")
    assert nodes.next_try == cluster.now + LONGEST
    assert (nodes.barred(), nodes.in_doubt) == ([], True)


def test_a_node_is_up_while_its_raylet_speaks(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHECK", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as raylet:
        cluster.add("c", port=raylet.getsockname()[1])
        nodes = Nodes("cpu")
        nodes.head = f"127.0.0.1:{raylet.getsockname()[1]}"

        def speak(times: int) -> None:
            for _ in range(times):
                with raylet.accept()[0] as taken:
                    taken.sendall(bytes((0, 0, 0, 4, 0, 0, 0, 0, 0)))

        speaking = threading.Thread(target=speak, args=(2,))
        speaking.start()
        assert nodes.is_up("c")
        assert nodes.head_answers()
        speaking.join()
        assert not nodes.is_up("c"), "frozen: the system takes its connections all the same"
        assert not nodes.head_answers()
    assert not nodes.is_up("c")
    assert not nodes.head_answers()
    assert not nodes.is_up("unknown")


def test_the_last_line_of_a_traceback_says_what_happened() -> None:
    coloured = "\x1b[36mray::A.__init__()\x1b[39m\n  File x\n\x1b[31mImportError: no x\x1b[0m\n\n"
    assert last_line(RuntimeError(coloured)) == "ImportError: no x"
    assert last_line(RuntimeError("")) == "RuntimeError"
