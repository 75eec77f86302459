#!/usr/bin/env bash
# Ray 2.60.0: a metrics port that was asked for, and is announced, is never opened by a plain install.
#
# Expected: ray.init(_metrics_export_port=N) opens N for Prometheus, or says that it cannot. Seen: with
# ray alone, ray.nodes() announces N as MetricsExportPort, ray.util.metrics takes gauges, and nothing
# listens on N after 45 s; no error, no warning. With what `ray[default]` adds to it the same program
# finds its gauge there.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
pip() { "$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@" 2>/dev/null; }
cat >"$work/gauge.py" <<'PY'
import socket, sys, time, urllib.request
import ray
from ray.util.metrics import Gauge

with socket.create_server(("127.0.0.1", 0)) as probe:
    port = probe.getsockname()[1]
ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False,
         logging_level="ERROR", _metrics_export_port=port)
Gauge("finding", "A gauge.").set(7)
print("announced" if ray.nodes()[0]["MetricsExportPort"] == port else "not announced", end=", ")
for _ in range(45):
    time.sleep(1)
    try:
        page = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=2).read().decode()
    except OSError:
        continue
    if "ray_finding" in page:
        sys.exit(print("gauge found"))
print("nothing listens")
PY
export RAY_AUTH_MODE=disabled
pip ray==2.60.0
plain=$("$work/venv/bin/python" "$work/gauge.py")
pip 'ray[default]==2.60.0'
whole=$("$work/venv/bin/python" "$work/gauge.py")
echo "ray 2.60.0 alone: $plain; with ray[default]: $whole"
[ "$plain" = "announced, nothing listens" ]
[ "$whole" = "announced, gauge found" ]
