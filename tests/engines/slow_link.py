"""A cable that holds every frame for a while: `slow_link.py INTERFACE INTERFACE SECONDS`, until its standard input is closed.

Kernels are built without `netem` in places, so this is done in user space: frames are taken from each interface as they are, with the
header in which the kernel notes what it left undone (checksums, segments), and put on the other one after the delay. Both must be in one
network namespace, without addresses.
"""

from __future__ import annotations

import contextlib
import select
import socket
import sys
import time
from collections import deque

_SOL_PACKET = 263
_PACKET_VNET_HDR = 15
_PACKET_IGNORE_OUTGOING = 23
_ALL_PROTOCOLS = 3
_FRAME = 10 + 14 + 65536
_ROOM = 16 * 2**20
_BURST = 64


def open_interface(name: str) -> socket.socket:
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    opened.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
    opened.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
    for direction in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        opened.setsockopt(socket.SOL_SOCKET, direction, _ROOM)
    opened.setblocking(False)
    opened.bind((name, _ALL_PROTOCOLS))
    return opened


def main(first: str, second: str, seconds: float) -> None:
    ends = [open_interface(first), open_interface(second)]
    waiting: list[deque[tuple[float, bytes]]] = [deque(), deque()]
    print("ready", flush=True)
    while True:
        dues = [queue[0][0] for queue in waiting if queue]
        timeout = max(0.0, min(dues) - time.monotonic()) if dues else None
        readable = select.select([sys.stdin, *ends], [], [], timeout)[0]
        if sys.stdin in readable:
            return
        now = time.monotonic()
        for end, queue in zip(ends, waiting, strict=True):
            # An interface that went down reports this once; what can't be sent is lost, as on any cable.
            with contextlib.suppress(OSError):
                for _ in range(_BURST if end in readable else 0):
                    queue.append((now + seconds, end.recv(_FRAME)))
        for end, queue in zip(reversed(ends), waiting, strict=True):
            while queue and queue[0][0] <= now:
                with contextlib.suppress(OSError):
                    end.send(queue[0][1])
                queue.popleft()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
