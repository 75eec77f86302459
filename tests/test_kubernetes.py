"""`clusters/kubernetes.yaml` is what the operator accepts, as far as can be told without it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
import yaml

FOLDER = Path(__file__).parents[1] / "clusters"
FILE = FOLDER / "kubernetes.yaml"
SCHEMAS = "KUBERAY_CRDS"
"""Environment variable: the folder helm-chart/kuberay-operator/crds of KubeRay's repository."""


@pytest.fixture
def parts() -> dict[str, Any]:
    return {part["kind"]: part for part in yaml.safe_load_all(FILE.read_text())}


def strict(schema: Any) -> Any:
    """A schema that knows no other fields than it names, as the server's field validation does."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    found = {key: strict(value) for key, value in schema.items()}
    open_ended = schema.get("x-kubernetes-preserve-unknown-fields")
    if isinstance(schema.get("properties"), dict) and not open_ended:
        found.setdefault("additionalProperties", False)
    return found


@pytest.mark.parametrize("kind", ["RayCluster", "RayJob"])
def test_the_operators_schema_takes_every_field(parts: dict[str, Any], kind: str) -> None:
    if SCHEMAS not in os.environ:
        pytest.skip(f"{SCHEMAS} is not set")
    file = Path(os.environ[SCHEMAS], f"ray.io_{kind.lower()}s.yaml")
    (version,) = [
        v for v in yaml.safe_load(file.read_text())["spec"]["versions"] if v["name"] == "v1"
    ]
    schema = strict(version["schema"]["openAPIV3Schema"])
    schema["properties"]["metadata"] = {"type": "object"}
    jsonschema.validate(parts[kind], schema)
    misspelt = {**parts[kind], "spec": {**parts[kind]["spec"], "rayVersoin": "2"}}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(misspelt, schema)


def pods(cluster: dict[str, Any]) -> Iterator[dict[str, Any]]:
    spec = cluster["spec"]
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        yield group["template"]["spec"]


def test_ray_is_of_one_version_everywhere(parts: dict[str, Any]) -> None:
    assert parts["RayCluster"]["spec"]["rayVersion"] == ray.__version__
    assert f"FROM rayproject/ray:{ray.__version__}-py311" in (FOLDER / "Dockerfile").read_text()
    images = {c["image"] for pod in pods(parts["RayCluster"]) for c in pod["containers"]}
    assert len(images) == 1


def test_a_driver_is_not_started_twice(parts: dict[str, Any]) -> None:
    job = parts["RayJob"]["spec"]
    assert job["backoffLimit"] == 0
    assert job["submissionMode"] == "K8sJobMode"
    assert job["clusterSelector"] == {"ray.io/cluster": parts["RayCluster"]["metadata"]["name"]}
    assert not {"suspend", "submitterPodTemplate", "rayClusterSpec"} & set(job)


def test_the_head_has_the_home_and_all_have_the_time_to_save(parts: dict[str, Any]) -> None:
    head, *workers = pods(parts["RayCluster"])
    (container,) = head["containers"]
    (mount,) = container["volumeMounts"]
    assert container["env"] == [
        {"name": "STUDY_HOME", "value": mount["mountPath"]},
        {"name": "RAY_JOB_STOP_WAIT_TIME_S", "value": "120"},
    ]
    (volume,) = head["volumes"]
    assert (
        volume["persistentVolumeClaim"]["claimName"]
        == (parts["PersistentVolumeClaim"]["metadata"]["name"])
    )
    for worker in workers:
        assert worker["terminationGracePeriodSeconds"] > 30 + 60, "Ray drains for 30 s"


def test_the_job_asks_for_what_the_workers_have(parts: dict[str, Any]) -> None:
    (group,) = parts["RayCluster"]["spec"]["workerGroupSpecs"]
    assert f"engines.count={group['maxReplicas']}" in parts["RayJob"]["spec"]["entrypoint"]
