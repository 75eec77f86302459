"""A slow link between two network interfaces: copies frames, late, and loses some.

python slow_link.py INTERFACE INTERFACE MILLISECONDS PERCENT
"""

from __future__ import annotations

import heapq
import random
import select
import socket
import sys
import time

EVERY_PROTOCOL = 3
"""ETH_P_ALL of <linux/if_ether.h>."""


def main(interfaces: list[str], delay: float, loss: float) -> None:
    """Copy for ever; ``delay`` in seconds, ``loss`` as a fraction."""
    ends = [socket.socket(socket.AF_PACKET, socket.SOCK_RAW) for _ in interfaces]
    for end, interface in zip(ends, interfaces, strict=True):
        end.bind((interface, EVERY_PROTOCOL))
    print("ready", flush=True)
    due: list[tuple[float, int, int, bytes]] = []
    count = 0
    while True:
        wait = max(0.0, due[0][0] - time.monotonic()) if due else None
        for end in select.select(ends, [], [], wait)[0]:
            frame, (_, _, kind, *_) = end.recvfrom(1 << 16)
            if kind != socket.PACKET_OUTGOING and random.random() >= loss:  # that is a copy's own
                count += 1
                other = 1 - ends.index(end)
                heapq.heappush(due, (time.monotonic() + delay, count, other, frame))
        while due and due[0][0] <= time.monotonic():
            *_, other, frame = heapq.heappop(due)
            ends[other].send(frame)


if __name__ == "__main__":
    main(sys.argv[1:3], float(sys.argv[3]) / 1000, float(sys.argv[4]) / 100)
