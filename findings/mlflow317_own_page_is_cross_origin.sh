#!/usr/bin/env bash
# MLflow 3.17.2: a server on a private address shows its page and refuses what that page asks.
#
# Expected: `mlflow server --host 0.0.0.0`, reached at a private address (allowed by default) or at a
# name given with --allowed-hosts, works in a browser: its page calls the server it came from.
# Seen: the page is served (200), and its own POST to /ajax-api, by which it lists experiments and
# runs, is 403 "Cross-origin request blocked": an origin is compared with loopback and with
# --cors-allowed-origins, never with the request's own Host. Without an Origin header, as from the Python
# client, the same request is answered. With --cors-allowed-origins naming the server itself the page works.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  mlflow==3.17.2 2>/dev/null
cd "$work"
MLFLOW_DISABLE_TELEMETRY=true MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false "$work/venv/bin/python" -W ignore - <<'PY'
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from importlib.metadata import version

BODY = json.dumps({"max_results": 1}).encode()


def asked(port, path, headers, body=None):
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, ""
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def statuses(host, *options):
    """Of the page, and of its list of experiments without and with its origin."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = [option.format(port=port) for option in options]
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", "sqlite:///mlflow.db"]
    command += ["--host", "0.0.0.0", "--port", str(port), "--workers", "1", *options]
    server = subprocess.Popen(
        command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(600):
            try:
                asked(port, "/health", {})
                break
            except OSError:
                time.sleep(0.2)
        host = {"Host": f"{host}:{port}", "Content-Type": "application/json"}
        own = {**host, "Origin": f"http://{host['Host']}"}
        search = "/ajax-api/2.0/mlflow/experiments/search"
        page, client = asked(port, "/", host)[0], asked(port, search, host, BODY)[0]
        status, said = asked(port, search, own, BODY)
        print(f"{host['Host']} {options}: page {page}, client {client}, its own page {status} {said}")
        return page, client, status
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


print("MLflow", version("mlflow"))
assert statuses("10.0.0.5") == (200, 200, 403)
assert statuses("server.example", "--allowed-hosts", "server.example:{port}") == (200, 200, 403)
origin = ["--cors-allowed-origins", "http://10.0.0.5:{port}"]
assert statuses("10.0.0.5", *origin) == (200, 200, 200)
PY
