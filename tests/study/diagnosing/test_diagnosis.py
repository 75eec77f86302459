"""What a launch says of a cluster, and when it does not begin; the facts are made up here."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from study.diagnosing import diagnosis, places
from study.diagnosing.diagnosis import ClusterError, check_cluster
from study.diagnosing.facts import gather
from study.diagnosing.places import Place
from study.engine.parts import parts_of
from study.spec import StudySpec, load_spec


@pytest.fixture
def spec() -> StudySpec:
    return load_spec("quickstart")


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch):
    """A cluster of this machine's facts, and of a node where some are others."""
    here = replace(gather(gpus=False), open_files=(65536, 65536))

    def make(**changed: Any) -> None:
        other = Place("b", replace(here, **changed), offered=here.cores + 1)
        monkeypatch.setattr(places, "driver", lambda *_, **__: Place(places.DRIVER, here))
        monkeypatch.setattr(places, "nodes", lambda *_, **__: [Place("a", here), other])

    make.versions = here.versions
    return make


def test_all_is_well_is_silent(cluster, spec):
    cluster(shared_memory=2**20)  # worth a note, of those that nobody asked for
    assert list(check_cluster(spec, parts_of(spec))) == []


def test_a_problem_is_a_line(cluster, spec):
    cluster(open_files=(500, 500), versions={**cluster.versions, "torch": "2.0"})
    torch, files = check_cluster(spec, parts_of(spec))
    assert torch.startswith("torch: ")
    assert "2.0 (b); use one version of it on all" in torch
    assert files == (
        "open files: 65,536 (driver, a); 500 (b); `ulimit -n 65536` before `ray start`"
    )


def test_a_node_that_would_run_another_study_refuses_it(cluster, spec):
    cluster(open_files=(500, 500), versions={**cluster.versions, "study": "0.0, code 1"})
    with pytest.raises(ClusterError) as found:
        check_cluster(spec, parts_of(spec))
    assert found.value.exit_code == 2
    assert found.value.where == "cluster: study"
    assert "0.0, code 1 (b)" in found.value.what
    assert found.value.remedy


def test_a_node_where_engines_do_not_start_is_a_line_as_others_have_them(cluster, spec):
    cluster(broken={"own:Model": "ImportError: no own"})
    (line,) = check_cluster(spec, parts_of(spec))
    assert line.startswith("imports: own:Model: ImportError: no own (b); ")


def test_the_names_are_those_of_the_driver_and_of_nodes():
    nodes = [
        {"NodeID": "1", "NodeManagerHostname": "one", "NodeManagerPort": 10},
        {"NodeID": "2", "NodeManagerHostname": "two", "NodeManagerPort": 20},
        {"NodeID": "3", "NodeManagerHostname": "two", "NodeManagerPort": 30},
    ]
    assert diagnosis.places._names(nodes) == {"1": "one", "2": "two:20", "3": "two:30"}
