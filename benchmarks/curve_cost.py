"""What encryption costs: rounds of averaging in a ring of four processes over CURVE, against the same rounds in the open.

Every process has two transports, one with keys and one without, and averages over one and over the other in turns, so that both meet the
same load of the machine. What is compared is the ratio within each turn. Synchronous gossip, the settings of the allocator that nodes have.
"""

from __future__ import annotations

import argparse
import multiprocessing as mp
import os
import statistics
import time
from typing import Any

import numpy as np
import zmq
from averaging import DEADLINE, NODES, WEIGHT, average, neighbours
from measuring import machine, median, table
from turns import Spent, in_turns, introduce, running

from orchestrator.launch.host.node_processes import ALLOCATOR, THREAD_VARIABLES
from protocols.averaging.averager import Averager, FixedNeighbourhood
from protocols.averaging.synchronous_gossip import SynchronousAveraging
from protocols.runtime.key_pairs import KeyPair
from protocols.runtime.node_start import Carrier, ipc_works
from protocols.transport import Identity, Transport, TransportOptions

MODES = ("open", "curve")
BARE_TIMEOUT = 10_000
"""milliseconds for one message between bare sockets"""


def node(index: int, size: int, carrier: Carrier, orders: Any) -> None:
    """One process of the ring: sends its endpoint and public key, receives those of the others, then averages by order until None."""
    own = KeyPair.make()
    transports = {
        way: Transport(Identity("benchmark", f"agent-{index}"), TransportOptions(keys=own if way == "curve" else None)) for way in MODES
    }
    try:
        orders.send(({way: transports[way].bind("peer", carrier=carrier) for way in MODES}, own.public))
        others = orders.recv()
        names = [f"agent-{i}" for i in neighbours(index)]
        for i, name in zip(neighbours(index), names, strict=True):
            endpoints, key = others[i]
            transports["curve"].guard.admit(key, name, "agent")
            for way in MODES:
                transports[way].connect("peer", name, endpoints[way], key)
        place = FixedNeighbourhood(dict.fromkeys(names, WEIGHT))
        machines: dict[str, Averager] = {way: SynchronousAveraging(place, way, size, DEADLINE) for way in MODES}
        x = np.random.default_rng(index).normal(size=size).astype(np.float32)
        while (order := orders.recv()) is not None:
            way, rounds = order
            start, cpu = time.perf_counter(), time.process_time()
            x, _ = average(transports[way], machines, way, x, rounds)
            orders.send((time.perf_counter() - start, time.process_time() - cpu))
    finally:
        for transport in transports.values():
            transport.close()


def measure(size: int, repeats: int, rounds: int, carrier: Carrier) -> Spent:
    """Both ways by turns."""
    context = mp.get_context("spawn")
    orders = [context.Pipe() for _ in range(NODES)]
    processes = [context.Process(target=node, args=(i, size, carrier, orders[i][1]), daemon=True) for i in range(NODES)]
    pipes = [order for order, _ in orders]
    with running(processes):
        introduce(pipes)
        return in_turns(pipes, lambda repeat: MODES if repeat % 2 else MODES[::-1], repeats, rounds)


def bare(size: int, messages: int, secret: bool) -> float:
    """CPU in microseconds of one message of so many bytes between two libzmq sockets, both ends and their threads together, with nothing of
    ours around them: what no protocol over CURVE can be cheaper than."""
    context = zmq.Context()
    sender, receiver = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
    if secret:
        ours, theirs = KeyPair.make(), KeyPair.make()
        receiver.curve_server = True
        receiver.curve_publickey, receiver.curve_secretkey = theirs.public.encode(), theirs.secret.encode()
        sender.curve_publickey, sender.curve_secretkey = ours.public.encode(), ours.secret.encode()
        sender.curve_serverkey = theirs.public.encode()
    receiver.rcvtimeo = sender.sndtimeo = BARE_TIMEOUT
    try:
        sender.connect(f"tcp://127.0.0.1:{receiver.bind_to_random_port('tcp://127.0.0.1')}")
        body = bytes(size)
        start = 0.0
        for sent in range(messages + 1):
            sender.send(body)
            receiver.recv()
            start = start if sent else time.process_time()  # without the first: its time is the handshake's
        return 1e6 * (time.process_time() - start) / messages
    finally:
        context.destroy(linger=0)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short repeat each: shows that it works, not how fast")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 250_000], help="parameters (default: 10000 250000)")
    parser.add_argument("--repeats", type=int, default=9)
    choices = ("tcp", "ipc") if ipc_works() else ("tcp",)
    parser.add_argument("--carrier", choices=choices, nargs="+", default=list(choices), help="what the transports use (default: both)")
    options = parser.parse_args()
    repeats = 1 if options.quick else options.repeats
    os.environ.update(ALLOCATOR | dict.fromkeys(THREAD_VARIABLES, "1"))  # read by the processes when they start
    print(machine())
    print(f"ring of {NODES} processes; median (min..max) of {repeats}; CPU in ms per round of all processes together\n")
    rows = []
    for size in options.sizes:
        rounds = 20 if options.quick else max(20, min(200, 10_000_000 // size))
        for carrier in options.carrier:
            spent = measure(size, repeats, rounds, carrier)
            ratios = [secret / plain for secret, plain in zip(spent.rate["curve"], spent.rate["open"], strict=True)]
            for way in MODES:
                share = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}..{max(ratios):.2f})" if way == "curve" else "1"
                rows.append([f"{size:,}", carrier, way, str(rounds), median(spent.rate[way], 0), share, median(spent.cpu[way])])
    for size in options.sizes:
        messages = 100 if options.quick else max(200, min(5000, 50_000_000 // size))
        with mp.get_context("spawn").Pool(1) as pool:  # a process with the settings of the allocator that nodes have
            costs = pool.starmap(bare, [(4 * size, messages, secret) for _ in range(repeats) for secret in (False, True)])
        open_cost, secret_cost = median(costs[::2], 0), median(costs[1::2], 0)
        print(f"bare sockets, {4 * size:,} bytes a message: {open_cost} us of CPU in the open, {secret_cost} encrypted")
    print()
    print(table(["numbers", "carrier", "way", "rounds", "rounds/s", "of the open", "CPU"], rows))


if __name__ == "__main__":
    main()
