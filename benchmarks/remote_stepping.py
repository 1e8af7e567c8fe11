"""Remote environment stepping against the same environment in one process.

Remote: the real environment server in a process of its own and four agents, each a process with a `Transport` and a `StepClient`, that
answer every observation at once with constant actions. Bare: one process steps the environment of `env_server.environments.registry` in a
loop. Both are measured in turns, so that whatever else the machine does meets both.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing as mp
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from measuring import cpu_seconds, machine, median, table

from orchestrator.config.loader import load
from orchestrator.config.resolved_configuration import canonical_json
from protocols.conversations.control.control_messages import Command, Heartbeat
from protocols.conversations.membership.membership_messages import Hello, Roster, RosterEntry, Welcome
from protocols.conversations.stepping.stepping import StepClient
from protocols.conversations.stepping.stepping_messages import Act, Join, Joined, Observation
from protocols.runtime.node_start import RUN_SERVER, NodeStart
from protocols.transport import Identity, Transport, TransportOptions

RUN, TOKEN = "benchmark", "benchmark"
AGENTS = tuple(f"agent-{i}" for i in range(4))
DEADLINE = 30.0
ENVIRONMENT = {"id": "mpe2:simple_spread_v3", "options": {"N": 4}, "deadline": "60s"}


def configuration(copies: int) -> str:
    """The configuration of a run, as the run server sends it."""
    contents = {
        "version": 2,
        "name": "remote_stepping",
        "until": {"steps": 1_000_000_000},
        "environment": {**ENVIRONMENT, "copies": copies},
        "evaluation": {"every": 1_000_000_000, "episodes": 1, "final_episodes": 1},
        "agents": {"count": len(AGENTS)},
        "network": {"topology": {"kind": "complete"}},
    }
    return canonical_json(load(contents).configuration)


# --- processes ----------------------------------------------------------------------------------------------------------------------


def serve(start: NodeStart) -> None:
    """The environment server's process."""
    from env_server.serving.server_main import main

    main(start)


def act(name: str, endpoint: str, running: Any, ticks: Any, stopped: Any) -> None:
    """An agent's process: constant actions, answered at once, while `running`."""
    transport = Transport(Identity(RUN, name), TransportOptions(token=TOKEN))
    transport.connect("env", "env-0", endpoint)
    client = StepClient(_random(name))
    action: Any = None
    join_again = 0.0
    try:
        while not stopped.value:
            received = transport.receive(0.05)
            now = time.monotonic()
            for item in received:
                if isinstance(item.message, Joined):
                    action = np.ones((item.message.copies, len(item.message.layout.actions)), np.int32)
                elif isinstance(item.message, Observation) and client.observed(item.src, item.message.tick, now):
                    ticks.value = client.tick
                    if running.value:
                        transport.send("env", "env-0", Act(tick=client.tick, rid=f"{name}/{client.tick}"), {"action": action})
                        client.act(now)
            if not client.acted and running.value:
                transport.send("env", "env-0", Act(tick=client.tick, rid=f"{name}/{client.tick}"), {"action": action})
                client.act(now)
            if client.tick < 0 and now >= join_again:
                join_again = now + 0.5
                transport.try_send("env", "env-0", Join())
            if client.again(now):
                transport.try_send("env", "env-0", Act(tick=client.tick, rid=f"{name}/{client.tick}"), {"action": action})
    finally:
        transport.close()


def _random(name: str) -> np.random.Generator:
    return np.random.default_rng(list(name.encode()))


def step_bare(copies: int, pipe: Any) -> None:
    """The comparison's process: for every number of seconds that it receives, (steps, wall seconds, CPU seconds)."""
    from env_server.environments import registry
    from env_server.settings import EnvironmentSettings

    environment = registry.create(EnvironmentSettings.model_validate({**ENVIRONMENT, "copies": copies}), AGENTS)
    environment.reset(0)
    actions = {agent: np.ones((copies, 1), np.int32) for agent in AGENTS}
    environment.step(actions)
    pipe.send("ready")
    while (seconds := pipe.recv()) is not None:
        steps, start, cpu = 0, time.perf_counter(), time.process_time()
        while (wall := time.perf_counter() - start) < seconds:
            environment.step(actions)
            environment.finished()
            steps += 1
        pipe.send((steps, wall, time.process_time() - cpu))
    environment.close()


# --- a run --------------------------------------------------------------------------------------------------------------------------


@dataclass
class Measurements:
    """What was measured, one value per repeat. Rates per second of wall time, CPU in ms per joint step."""

    remote_rate: list[float] = field(default_factory=list)
    bare_rate: list[float] = field(default_factory=list)
    server_cpu: list[float] = field(default_factory=list)
    clients_cpu: list[float] = field(default_factory=list)
    bare_cpu: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> list[float]:
        """Remote rate over bare rate, repeat by repeat."""
        return [remote / bare for remote, bare in zip(self.remote_rate, self.bare_rate, strict=True)]


class RunServer:
    """What the environment server needs of a run server: welcome, roster and commands."""

    def __init__(self, copies: int) -> None:
        self.transport = Transport(Identity(RUN, RUN_SERVER), TransportOptions(token=TOKEN))
        self.control, self.telemetry = self.transport.bind("ctl"), self.transport.bind("tele")
        self._configuration = np.frombuffer(configuration(copies).encode(), np.uint8)

    def until(self, wanted: type[Any]) -> Any:
        """Answer until such a message comes, and return it."""
        deadline = time.monotonic() + DEADLINE
        while time.monotonic() < deadline:
            for received in self.transport.receive(0.1):
                message = received.message
                if isinstance(message, Hello):
                    entries = [RosterEntry(name=received.src, role="env", state="alive", endpoint=message.endpoint, inc=1)]
                    # The server's first step waits for the agents that are alive.
                    entries += [RosterEntry(name=agent, role="agent", state="alive", inc=1) for agent in AGENTS]
                    self.transport.send("ctl", received.src, Welcome(), {"config": self._configuration})
                    self.transport.send("ctl", received.src, Roster(version=1, entries=entries))
                if isinstance(message, wanted):
                    return message
        raise TimeoutError(f"no {wanted.__name__} within {DEADLINE:g} s")

    def command(self, number: int, op: Any) -> None:
        """Send a command to the environment server."""
        self.transport.send("ctl", "env-0", Command(id=number, op=op))


def measure(copies: int, repeats: int, seconds: float, directory: Path) -> Measurements:
    """Remote and bare stepping of `copies` copies in turns."""
    context = mp.get_context("spawn")
    run_server = RunServer(copies)
    token = directory / "control.json"
    token.touch(0o600)
    token.write_text(json.dumps({"token": TOKEN}))
    start = NodeStart(RUN, "env-0", "env", 1, str(directory), run_server.control, run_server.telemetry, str(token))
    running, stopped = (context.Value("b", 0, lock=False) for _ in range(2))  # events would cost the agents a system call a step
    ticks = [context.Value("q", -1, lock=False) for _ in AGENTS]
    pipe, other = context.Pipe()
    server = context.Process(target=serve, args=(start,))
    bare = context.Process(target=step_bare, args=(copies, other))
    processes = [server, bare]
    metrics = Measurements()
    try:
        server.start()
        bare.start()
        endpoint = run_server.until(Hello).endpoint
        clients = [
            context.Process(target=act, args=(name, endpoint, running, tick, stopped)) for name, tick in zip(AGENTS, ticks, strict=True)
        ]
        for client in clients:
            processes.append(client)
            client.start()
        run_server.until(Heartbeat)
        run_server.command(1, "start")
        _wait(lambda: pipe.poll(0.05), "the bare environment is not ready")
        pipe.recv()
        running.value = 1  # joined agents act; otherwise the server would wait for the first action before it admits others
        _wait(lambda: all(tick.value >= 0 for tick in ticks), "the agents have not joined")
        running.value = 0
        for repeat in range(repeats + 1):
            pipe.send(seconds)
            steps, wall, cpu = pipe.recv()
            running.value = 1
            before = ticks[0].value
            _wait(lambda before=before: ticks[0].value > before, "the server does not step")
            rate, server_cpu, clients_cpu = _window(server, clients, ticks[0], seconds)
            running.value = 0
            time.sleep(0.05)
            if repeat:  # the first one warms up
                metrics.bare_rate.append(steps / wall)
                metrics.bare_cpu.append(1000 * cpu / steps)
                metrics.remote_rate.append(rate)
                metrics.server_cpu.append(server_cpu)
                metrics.clients_cpu.append(clients_cpu)
        pipe.send(None)
        stopped.value = 1
        run_server.command(2, "stop")
    finally:
        stopped.value = 1
        for process in processes:
            if process.pid is not None:
                process.join(5.0)
                if process.is_alive():
                    process.kill()
                    process.join()
        run_server.transport.close()
    return metrics


def _window(server: Any, clients: list[Any], tick: Any, seconds: float) -> tuple[float, float, float]:
    """(joint steps per second, server's CPU ms per joint step, all clients' together)."""
    pids = [client.pid for client in clients]
    start, first = time.perf_counter(), tick.value
    server_cpu, clients_cpu = cpu_seconds(server.pid), sum(map(cpu_seconds, pids))
    time.sleep(seconds)
    wall, steps = time.perf_counter() - start, tick.value - first
    server_cpu, clients_cpu = cpu_seconds(server.pid) - server_cpu, sum(map(cpu_seconds, pids)) - clients_cpu
    if steps <= 0:
        raise RuntimeError("not one step in the window")
    return steps / wall, 1000 * server_cpu / steps, 1000 * clients_cpu / steps


def _wait(condition: Any, otherwise: str) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(otherwise)
        time.sleep(0.01)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short repeat each: shows that it works, not how fast")
    parser.add_argument("--copies", type=int, nargs="+", default=[1, 4, 16], help="environment copies K (default: 1 4 16)")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement")
    options = parser.parse_args()
    repeats, seconds = (1, 0.3) if options.quick else (options.repeats, options.seconds)
    print(machine())
    print(f"mpe2 simple_spread, {len(AGENTS)} agents; median (min..max) of {repeats} x {seconds:g} s, CPU in ms per joint step\n")
    rows = []
    for copies in options.copies:
        with tempfile.TemporaryDirectory(prefix="remote-stepping-") as directory:
            metrics = measure(copies, repeats, seconds, Path(directory))
        both = [a + b for a, b in zip(metrics.server_cpu, metrics.clients_cpu, strict=True)]
        rows.append(
            [
                str(copies),
                median(metrics.remote_rate, 0),
                f"{copies * statistics.median(metrics.remote_rate):,.0f}",
                median(metrics.bare_rate, 0),
                median(metrics.ratio),
                median(metrics.server_cpu),
                median(metrics.clients_cpu),
                f"{statistics.median(both):.2f}",
                median(metrics.bare_cpu),
            ]
        )
    head = ["K", "remote steps/s", "x K", "bare steps/s", "remote/bare", "server CPU", "clients CPU", "all CPU", "bare CPU"]
    print(table(head, rows))


if __name__ == "__main__":
    main()
