"""Push-sum between real processes over real sockets, whose messages are lost, repeated and held back where they are sent."""

from __future__ import annotations

import heapq
import multiprocessing as mp
import time
from itertools import count
from typing import Any

import msgspec
import numpy as np

from protocols.averaging.averager import FixedNeighbourhood
from protocols.averaging.push_sum import PushSum
from protocols.transport import Identity, Transport

NODES = 8
SIZE = 1000
ROUNDS = 80
LOSS, DUPLICATE, LONGEST = 0.3, 0.2, 0.02
PATIENCE = 60.0


def agent(index: int, orders: Any) -> None:
    """One process: sends its endpoint, receives those of its neighbours, reports its state on request,
    averages until it is stopped, and sends its result."""
    transport = Transport(Identity("test", f"agent-{index}"))
    try:
        orders.send(transport.bind("peer"))
        endpoints = orders.recv()
        near = [(index - 1) % NODES, (index + 1) % NODES]
        for i in near:
            transport.connect("peer", f"agent-{i}", endpoints[i])
        machine = PushSum(FixedNeighbourhood({f"agent-{i}": 1 / 3 for i in near}), "layout", SIZE, incarnation=1)
        for i in near:
            machine.peer_alive(f"agent-{i}", 1, time.monotonic())
        x = np.random.default_rng(index).normal(size=SIZE)
        link_outcome = np.random.default_rng(1000 + index)
        held: list[tuple[float, int, Any]] = []
        order = count()
        told = False
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            now = time.monotonic()
            machine.tick(now)
            for event in machine.events():
                x = x + event.delta
            if not machine.open:
                machine.begin(machine.round + 1, x, now)
            for send in machine.outgoing():
                for _ in range(1 + int(link_outcome.random() < DUPLICATE)):
                    if link_outcome.random() >= LOSS:
                        heapq.heappush(held, (now + link_outcome.uniform(0, LONGEST), next(order), send))
            while held and held[0][0] <= now:
                send = heapq.heappop(held)[2]
                # Each copy has a header of its own: the transport numbers what it sends.
                transport.try_send("peer", send.dst, msgspec.structs.replace(send.message), send.arrays)
            wait = min(machine.wake(), held[0][0] if held else now + 0.05) - time.monotonic()
            for received in transport.receive(max(0.0, min(wait, 0.05))):
                machine.receive(received.src, received.message, received.arrays, time.monotonic())
            if machine.round >= ROUNDS and not told:
                told = True
                orders.send(machine.round)
            if told and orders.poll():
                if orders.recv() == "stop":
                    break
                orders.send(x)
        orders.send((x, {name: number for name, number in machine.counters.items() if name.startswith("bad")}))
    finally:
        transport.close()


def answer(pipe: Any) -> Any:
    if not pipe.poll(PATIENCE):
        raise TimeoutError("a process does not answer")
    return pipe.recv()


def shown(pipes: list[Any]) -> list[Any]:
    """What every process has now."""
    for pipe, _ in pipes:
        pipe.send("show")
    return [answer(pipe) for pipe, _ in pipes]


def test_eight_processes_agree_on_the_exact_mean_over_links_that_lose_a_third() -> None:
    context = mp.get_context("spawn")
    pipes = [context.Pipe() for _ in range(NODES)]
    processes = [context.Process(target=agent, args=(i, pipes[i][1]), daemon=True) for i in range(NODES)]
    try:
        for process in processes:
            process.start()
        endpoints = [answer(pipe) for pipe, _ in pipes]
        for pipe, _ in pipes:
            pipe.send(endpoints)
        for pipe, _ in pipes:
            assert answer(pipe) >= ROUNDS
        # How many rounds it takes depends on how many are closed without a neighbour that is late: they average until they agree.
        scale = np.ptp([np.random.default_rng(i).normal(size=SIZE) for i in range(NODES)], axis=0).max()
        deadline = time.monotonic() + PATIENCE / 2
        while np.ptp(shown(pipes), axis=0).max() > 3e-7 * scale:
            assert time.monotonic() < deadline, "they don't come to agree"
        for pipe, _ in pipes:
            pipe.send("stop")
        results = [answer(pipe) for pipe, _ in pipes]
    finally:
        for process in processes:
            process.join(10.0)
            if process.is_alive():
                process.kill()
                process.join()
        for pair in pipes:
            for pipe in pair:
                pipe.close()
    start = np.array([np.random.default_rng(i).normal(size=SIZE) for i in range(NODES)])
    end = np.array([x for x, _ in results])
    assert not any(bad for _, bad in results)
    assert np.abs(end - start.mean(axis=0)).max() <= 1e-6 * np.ptp(start, axis=0).max()
