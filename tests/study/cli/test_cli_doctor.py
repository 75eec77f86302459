"""``study doctor`` of one machine, as a person meets it."""

from __future__ import annotations

import re

import ray
from commands import made, refusal, study


def states(output: str) -> dict[str, str]:
    rows = [re.split(r" {2,}", line) for line in output.splitlines()[1:]]
    return {row[0]: row[1] for row in rows}


def test_one_machine_without_ray(place):
    result = study("doctor", "study.yaml")
    found = states(result.stdout)
    assert result.exit_code == 0, result.output
    assert "problem" not in found.values()
    assert {"torch", "imports", "clocks", "shared home", "MLflow", "usable memory"} <= found.keys()
    assert not ray.is_initialized()
    assert made(place) == []
    assert not (place / "home").exists()


def test_a_problem_is_a_failure(place, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    (place / "home").touch()
    result = study("doctor")
    assert result.exit_code == 1
    found = states(result.stdout)
    assert [check for check, state in found.items() if state == "problem"] == ["home", "MLflow"]
    assert "cannot write here: File exists" in result.stdout
    assert "unset that to use the embedded store" in result.stdout


def test_what_cannot_be_looked_at(own):
    assert "no such file" in refusal("doctor", "nothing.yaml")
    assert "no Ray cluster answers at '127.0.0.1:1'" in refusal(
        "doctor", "--address", "127.0.0.1:1"
    )
