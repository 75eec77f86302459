"""Engines and slots in what Prometheus would scrape of a real Ray."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

SCRAPED = """
import time, urllib.request
import ray
from ray._common.network_utils import find_free_port
from study.scheduling.gauges import Gauges
from study.scheduling.pool import Occupancy

port = find_free_port()
quiet = {"include_dashboard": False, "logging_level": "ERROR"}
ray.init(address="local", num_cpus=1, _metrics_export_port=port, **quiet)
gauges = Gauges("mine")
gauges.set([Occupancy("a", None, 4, ["t", "u", "v"]), Occupancy("b", None, 4)])
for _ in range(60):
    time.sleep(1)
    try:
        found = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()
    except OSError:
        continue
    lines = [line for line in found.splitlines() if line.startswith("ray_study_")]
    if len(lines) == 3:
        print(*lines, sep="\\n")
        break
"""


def test_a_scrape_has_the_engines_and_the_slots() -> None:
    pytest.importorskip("prometheus_client", reason="Ray serves metrics with ray[default] only")
    environment = os.environ | {"RAY_AUTH_MODE": "disabled"}
    done = subprocess.run(
        [sys.executable, "-c", SCRAPED],
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
        check=True,
    )
    found = {}
    for line in done.stdout.splitlines():
        state = re.search(r'state="(\w+)"', line)
        assert 'study="mine"' in line
        found[state[1] if state else "engines"] = float(line.rpartition(" ")[2])
    assert found == {"engines": 2.0, "busy": 3.0, "free": 5.0}
