#!/usr/bin/env bash
# Ray 2.60.0: one argument of 250 KB for an actor on another node takes several times as long as the
# same bytes in four arguments.
#
# Expected: one buffer is the cheapest way to send bytes, and 250 KB on loopback take a millisecond or
# two. Seen: an argument above 100 KB leaves the call for the object stores of both nodes, about 20 ms
# a call; arguments of 64 KB stay inside it, about 4 ms for all four. At 4 MB neither way is faster. So
# a stream of checkpoints of a few hundred kilobytes is best cut into parts by its sender.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check ray==2.60.0 2>/dev/null
cat >"$work/send.py" <<'PY'
import os, statistics, sys, time
import ray
from ray.cluster_utils import Cluster
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
other = cluster.add_node(num_cpus=1)
ray.init(cluster.address, log_to_driver=False, logging_level="ERROR")


@ray.remote(num_cpus=0)
class Receiver:
    def take(self, *parts):
        return len(b"".join(parts))


@ray.remote(num_cpus=1)
class Sender:
    def median(self, receiver, size, part):
        content, seconds = os.urandom(size), []
        for _ in range(60):
            begun = time.perf_counter()
            parts = [content[i : i + part] for i in range(0, size, part)]
            assert ray.get(receiver.take.remote(*parts)) == size
            seconds.append(time.perf_counter() - begun)
        return statistics.median(seconds[10:])


here = On(ray.get_runtime_context().get_node_id(), soft=False)
receiver = Receiver.options(scheduling_strategy=here).remote()
sender = Sender.options(scheduling_strategy=On(other.node_id, soft=False)).remote()
size = 250_000
whole, parts = (ray.get(sender.median.remote(receiver, size, p)) for p in (size, 65_536))
print(f"{size} bytes in one argument: {1000 * whole:.1f} ms, in four: {1000 * parts:.1f} ms")
sys.exit(whole < 2 * parts)
PY
export RAY_AUTH_MODE=disabled
"$work/venv/bin/python" "$work/send.py" 2>/dev/null
