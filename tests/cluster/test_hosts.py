"""The hosts that the other tests here run on."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from hosts import Host, Hosts
from waiting import until

ECHO = """
import contextlib, socket, threading

def echo(taken):
    with taken, contextlib.suppress(ConnectionError):  # who gave up while cut off resets it
        while read := taken.recv(65536):
            taken.sendall(read)

with socket.create_server(("", 9000)) as server:
    while True:  # one that lost packets hold up is in nobody's way
        threading.Thread(target=echo, args=server.accept()[:1], daemon=True).start()
"""
ASK = """
import socket, sys, time
host, size = sys.argv[1], int(sys.argv[2])
for attempt in range(1000):  # until the server is up
    try:
        asked = socket.create_connection((host, 9000), timeout=5)
        break
    except ConnectionRefusedError:
        time.sleep(0.05)
start, sent, got = time.monotonic(), bytes(range(256)) * size, b""
asked.sendall(sent)
while len(got) < len(sent):
    got += asked.recv(65536)
assert got == sent
print(time.monotonic() - start)
"""
SILENT = float("inf")


def serve(host: Host) -> None:
    host.popen(sys.executable, "-c", ECHO)


def ask(host: Host, other: str, size: int = 1) -> float:
    """Seconds until another host has sent back so many times 256 bytes; or :data:`SILENT`."""
    done = host.run(sys.executable, "-c", ASK, other, str(size), check=False)
    if done.returncode:
        assert done.stderr.splitlines()[-1] == "TimeoutError: timed out", done.stderr
        return SILENT
    return float(done.stdout)


def test_hosts_know_each_other_by_name_and_a_cut_cable_is_silent(hosts: Hosts) -> None:
    one, other = hosts.add("one"), hosts.add("other")
    serve(other)
    assert one.run("hostname").stdout == "one\n"
    assert ask(one, "other") < SILENT
    other.cut()
    assert ask(one, "other") == SILENT
    other.heal()
    assert ask(one, "other") < SILENT


def test_a_slow_host_is_late_and_loses_packets_until_it_is_healed(hosts: Hosts) -> None:
    one, other = hosts.add("one"), hosts.add("other")
    serve(other)
    other.slow(milliseconds=50, percent=0)
    assert ask(one, "other") >= 0.1  # there and back
    other.slow(milliseconds=0, percent=100)
    assert ask(one, "other") == SILENT
    other.slow(milliseconds=5, percent=2)
    assert ask(one, "other", size=4000) >= 0.01  # 1 MB, whole
    other.heal()
    assert any(ask(one, "other") < 0.1 for _ in range(50))


def test_a_host_has_private_folders_and_shares_all_others(hosts: Hosts, tmp_path: Path) -> None:
    own = tmp_path / "studies"
    one, other = hosts.add("one", private=[own]), hosts.add("other")
    for host in (one, other):
        host.run("touch", str(own / host.name), str(tmp_path / host.name))
    assert [path.name for path in own.iterdir()] == ["other"]
    assert {"one", "other"} < {path.name for path in tmp_path.iterdir()}
    assert one.run("ls", str(own)).stdout == "one\n"


def test_a_removed_host_ends_what_runs_there_and_another_may_have_its_name(hosts: Hosts) -> None:
    host, other = hosts.add("one"), hosts.add("other")
    host.run("bash", "-c", "setsid sleep 1000 >/dev/null 2>&1 & disown")
    while not (there := host.processes("sleep")):  # amid an exec it has no title
        time.sleep(0.01)
    (orphan,) = there
    hosts.remove("one")
    assert not orphan.kill(0)
    again = hosts.add("one")
    assert not again.processes()
    serve(again)
    assert ask(other, "one") < SILENT


KILLED = """
import os, signal, sys
from pathlib import Path
from hosts import Hosts
with Hosts(Path(sys.argv[1])) as hosts:
    hosts.add("one").popen("sleep", "1000")
    hosts.add("other").slow(5, 0)
    pids = [p.pid for host in hosts for p in host.processes()] + [hosts["other"].first]
    print(*pids, hosts["one"].first, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_nothing_outlives_the_program_that_made_the_hosts(tmp_path: Path) -> None:
    path = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": path},
    )
    there = [Path("/proc", pid) for pid in done.stdout.split()]
    assert len(there) >= 3, done.stderr
    until(lambda: not any(proc.exists() for proc in there), "their end")
