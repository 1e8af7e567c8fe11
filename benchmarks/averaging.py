"""Rounds of averaging in a ring of four processes: synchronous gossip and push-sum over real transports against bare pipes.

Averaging: every process learns nothing, it only begins the next round as soon as the last one is closed. Bare: the same processes exchange
the same vectors with both neighbours through `multiprocessing.Pipe` and take the same mean. All are measured in turns, with the settings
of the allocator that nodes have. Push-sum's vectors stay float64 between rounds, and travel so, or as float32.
"""

from __future__ import annotations

import argparse
import multiprocessing as mp
import os
import statistics
import time
from collections.abc import Sequence
from threading import Thread
from typing import Any

import numpy as np
from measuring import machine, median, table
from turns import Spent, in_turns, introduce, receive, running

from orchestrator.launch.host.node_processes import ALLOCATOR, THREAD_VARIABLES
from protocols import kernels
from protocols.averaging.averager import Averager, FixedNeighbourhood
from protocols.averaging.push_sum import PushSum
from protocols.averaging.synchronous_gossip import SynchronousAveraging
from protocols.runtime.node_start import Carrier, ipc_works, shared_memory_works
from protocols.transport import Identity, Transport
from protocols.transport.sockets import TransportOptions

NODES = 4
WEIGHT = 1.0 / 3.0
DEADLINE = 30.0
MODES = ("mh float32", "pushsum float32", "pushsum float64")


def neighbours(index: int) -> tuple[int, int]:
    """Left and right in the ring."""
    return (index - 1) % NODES, (index + 1) % NODES


def node(index: int, size: int, carriers: Sequence[Carrier], orders: Any, left: Any, right: Any) -> None:
    """One process of the ring: sends its endpoints, receives those of the others, then executes orders until None."""
    identity = Identity("benchmark", f"agent-{index}")
    transports = {carrier: Transport(identity, TransportOptions(shared_memory=carrier == "shared")) for carrier in carriers}
    try:
        orders.send({carrier: transport.bind("peer", carrier=carrier) for carrier, transport in transports.items()})
        endpoints = orders.recv()
        names = [f"agent-{i}" for i in neighbours(index)]
        for i, name in zip(neighbours(index), names, strict=True):
            for carrier, transport in transports.items():
                transport.connect("peer", name, endpoints[i][carrier])
        place = FixedNeighbourhood(dict.fromkeys(names, WEIGHT))
        machines: dict[str, dict[str, Averager]] = {
            carrier: {
                kind: PushSum(place, kind, size, DEADLINE, offers=kind.split()[1])
                if kind.startswith("pushsum")
                else SynchronousAveraging(place, kind, size, DEADLINE)
                for kind in MODES
            }
            for carrier in carriers
        }
        x, incomplete = np.random.default_rng(index).normal(size=size).astype(np.float32), 0
        while (order := orders.recv()) is not None:
            kind, rounds = order
            start, cpu = time.perf_counter(), time.process_time()
            if kind == "bare":
                x = _exchange(left, right, x, rounds, index)
            else:
                mode, carrier = kind.split(", ")
                x, late = average(transports[carrier], machines[carrier], mode, x, rounds)
                incomplete += late
            orders.send((time.perf_counter() - start, time.process_time() - cpu))
        orders.send((x, incomplete))
    finally:
        for transport in transports.values():
            transport.close()


def average(transport: Transport, machines: dict[str, Averager], kind: str, x: Any, rounds: int) -> tuple[Any, int]:
    """`x` after so many rounds of averaging with the neighbours, and in how many of them a neighbour was too late."""
    machine = machines[kind]
    dtype = np.float64 if isinstance(machine, PushSum) else np.float32
    x, incomplete = np.array(x, dtype), 0
    for _ in range(rounds):
        machine.begin(machine.round + 1, x, time.monotonic())
        deadline = time.monotonic() + DEADLINE
        while True:
            for send in machine.outgoing():
                transport.send("peer", send.dst, send.message, send.arrays)
            events = machine.events()
            if events:
                break
            if time.monotonic() > deadline:
                raise TimeoutError("a round does not end")
            for received in transport.receive(0.05):
                # A neighbour may have begun the next measurement: its layout identifies it.
                machines[received.message.layout].receive(received.src, received.message, received.arrays, time.monotonic())
            machine.tick(time.monotonic())
        incomplete += bool(events[0].missing)
        x += events[0].delta.astype(dtype, copy=False)  # as agents do
    return x.astype(np.float32), incomplete


def _exchange(left: Any, right: Any, x: Any, rounds: int, index: int) -> Any:
    for _ in range(rounds):
        # A pipe holds less than a large vector: while one side writes, the other must read.
        writers = [Thread(target=pipe.send_bytes, args=(x.data,)) for pipe in (left, right)] if x.nbytes > 32_768 else []
        if writers:
            for writer in writers:
                writer.start()
        else:
            left.send_bytes(x.data)
            right.send_bytes(x.data)
        others = [np.frombuffer(pipe.recv_bytes(), np.float32) for pipe in (left, right)]
        for writer in writers:
            writer.join()
        delta = np.zeros(len(x))
        for other in others:
            delta += WEIGHT * (other.astype(np.float64) - x)
        x = x + delta.astype(np.float32)
    return x


def kinds(carriers: Sequence[Carrier]) -> list[str]:
    """What is measured beside bare pipes."""
    return [f"{mode}, {carrier}" for mode in MODES for carrier in carriers]


def measure(size: int, repeats: int, rounds: int, carriers: Sequence[Carrier]) -> tuple[Spent, float, int]:
    """All exchanges of vectors of `size` float32 numbers by turns, by how much these differ in the end, and incomplete rounds of gossip."""
    context = mp.get_context("spawn")
    edges = [context.Pipe() for _ in range(NODES)]  # edge i joins node i (its right) and node i + 1 (its left)
    orders = [context.Pipe() for _ in range(NODES)]
    processes = [
        context.Process(target=node, args=(i, size, carriers, orders[i][1], edges[(i - 1) % NODES][1], edges[i][0]), daemon=True)
        for i in range(NODES)
    ]
    pipes = [order for order, _ in orders]
    with running(processes):
        introduce(pipes)
        spent = in_turns(pipes, lambda repeat: ("bare", *kinds(carriers)), repeats, rounds)
        answers = [receive(pipe) for pipe in pipes]
        vectors = np.array([vector for vector, _ in answers])
        return spent, float(np.abs(vectors - vectors.mean(0)).max()), sum(incomplete for _, incomplete in answers)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short repeat each: shows that it works, not how fast")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 250_000], help="parameters (default: 10000 250000)")
    parser.add_argument("--repeats", type=int, default=5)
    possible: list[Carrier] = [*(["shared"] if shared_memory_works() else []), *(["ipc"] if ipc_works() else []), "tcp"]
    parser.add_argument("--carriers", choices=possible, nargs="+", default=possible[:2], help="of the transport (default: %(default)s)")
    options = parser.parse_args()
    repeats = 1 if options.quick else options.repeats
    os.environ.update(ALLOCATOR | dict.fromkeys(THREAD_VARIABLES, "1"))  # read by the processes when they start
    print(machine())
    compiled = "numpy" if kernels.library is None else "compiled"
    print(
        f"kernels: {compiled}; ring of {NODES} processes; median (min..max) of {repeats}; CPU in ms per round of all processes together\n"
    )
    rows = []
    for size in options.sizes:
        rounds = 20 if options.quick else max(20, min(300, 15_000_000 // size))
        spent, disagreement, incomplete = measure(size, repeats, rounds, options.carriers)
        for kind in ("bare", *kinds(options.carriers)):
            ratio = statistics.median(a / b for a, b in zip(spent.rate[kind], spent.rate["bare"], strict=True))
            name = "bare pipes" if kind == "bare" else kind
            rows.append([f"{size:,}", name, str(rounds), median(spent.rate[kind], 0), f"{ratio:.2f}", median(spent.cpu[kind])])
        print(f"{size:,} numbers: in the end they differ by {disagreement:.0e}; rounds without a late neighbour: {incomplete}")
    print("\n" + table(["numbers", "way", "rounds", "rounds/s", "of the pipes", "CPU"], rows))


if __name__ == "__main__":
    main()
