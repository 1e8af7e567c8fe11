"""From waits to sentences, without processes: chains, causes, what is usual, and what is dropped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from orchestrator.launch.process_states import main_thread
from orchestrator.run_server.waits.wait_causes import NodeFacts, short_frame
from orchestrator.run_server.waits.wait_chains import wait_chains

BEAT = 0.5
ALONE = "and no other thread of it runs"
STEP = "a step of the environment"
STACK = ("Event.wait in /usr/lib/python3.11/threading.py:629", "Room.step in /home/me/my_env.py:31", "main in /repo/server_main.py:20")


def wait(operation: str, *peers: str, seconds: float = 2.1, left: float | None = None, usual: float = 0.0) -> dict[str, Any]:
    return {"operation": operation, "peers": list(peers), "seconds": seconds, "left": left, "usual": usual, "own": False}


def own(operation: str, seconds: float, usual: float = 0.0) -> dict[str, Any]:
    return wait(operation, seconds=seconds, usual=usual) | {"own": True}


def node(name: str, *waits: dict[str, Any], system: str = "S", cpu: float = 0.0, stack: Sequence[str] = (), **entry: Any) -> NodeFacts:
    known = {"role": "agent", "state": "alive", "silent": 0.1, "age": 0.1, "depth": 0, "waits": list(waits), **entry}
    return NodeFacts(name, known, system, cpu, stack)


def fault(kind: str, *targets: str) -> dict[str, Any]:
    return {"id": "by-hand-1", "kind": kind, "targets": list(targets), "seconds": 3.0}


def said(*nodes: NodeFacts, faults: Sequence[dict[str, Any]] = ()) -> list[tuple[str, str]]:
    return [(chain.level, chain.text) for chain in wait_chains({node.name: node for node in nodes}, faults, BEAT)]


def test_nothing_stands_still() -> None:
    (chain,) = said(node("agent-0", wait("the observation after tick 1", "env-0", seconds=0.1, left=1.9)), node("env-0"))
    longest = "the longest wait is that of agent-0 for the observation after tick 1 from env-0 (0.1 s of 2 s)"
    assert chain == ("good", f"no process waits longer than usual; {longest}")


def test_a_chain_leads_to_the_process_that_stands() -> None:
    (chain,) = said(
        node("env-0", wait("the actions of tick 7", "agent-1", "agent-2", left=2.9)),
        node("agent-0", wait("the observation after tick 7", "env-0", seconds=2.0)),
        node("agent-1", age=2.2, silent=2.2, system="T"),
        node("agent-2", wait("the observation after tick 7", "env-0", seconds=1.9)),
    )
    waits = "env-0 waits for the actions of tick 7 from agent-1 and 1 other (2.1 s of 5 s)"
    assert chain == ("bad", f"{waits}; agent-1 does not answer: stopped (SIGSTOP); agent-0, agent-2 wait for the same")


def test_a_chain_passes_through_processes_that_wait_themselves() -> None:
    (chain,) = said(
        node("agent-0", wait("the observation after tick 7", "env-0")),
        node("env-0", own("step", 2.3), stack=STACK, cpu=0.98),
    )
    assert chain[0] == "warn"
    assert chain[1] == (
        "agent-0 waits for the observation after tick 7 from env-0 (2.1 s); "
        "env-0 has been in a step of the environment for 2.3 s and computes (98 % of a core); its stack: Room.step in my_env.py:31"
    )


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        (node("x", own("step", 2.0), stack=STACK), f"x stands still in {STEP} for 2.0 s; its stack: Room.step in my_env.py:31"),
        (node("x", own("", 2.0), stack=["Hang.hang in p.py:1"]), "x stands still for 2.0 s by the fault by-hand-1"),
        (
            node("x", own("checkpoint", 3.0), stack=["Disk.write in /repo/disk.py:43"]),
            "x waits for its disk for 3.0 s (writing a checkpoint); its stack: Disk.write in disk.py:43",
        ),
        (node("x", own("learn", 2.0), system="D"), "x waits for a disk or another device for 2.0 s (an update of the learner)"),
        (node("x", own("act", 2.0), depth=5000), "x stands still in the choice of actions for 2.0 s, and its inbox has 5000 messages"),
        (node("x", system="Z"), "x does not answer: its process has ended"),
        (node("x", state="dead", detail="exit 10 (crash)"), "x is dead: exit 10 (crash)"),
        (node("x", state="joining", age=None, silent=12.0), "x has not registered for 12.0 s: its process runs"),
        (node("x", age=4.0, silent=4.0, cpu=0.9), f"x does not answer for 4.0 s: it computes (90 % of a core), {ALONE}"),
        (node("x", wait("the capacity")), "x waits for the capacity for 2.1 s"),
        (node("run", age=None, silent=0.0, system="T"), "the run server does not answer: stopped (SIGSTOP)"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_one_process(facts: NodeFacts, text: str) -> None:
    faults = [fault("process.hang", "x")] if "by the fault" in text else []
    ((level, found),) = said(facts, faults=faults)
    assert (level in ("bad", "warn"), found) == (True, text)


def test_work_that_always_takes_long_is_no_trouble() -> None:
    ((level, _),) = said(node("agent-0", own("model", 2.5, usual=2.0)), node("agent-1", wait("x", "agent-0", seconds=2.0, usual=1.5)))
    assert level == "good"


def test_the_run_server_waits_for_a_phase_without_news_and_comes_first_with_a_cause() -> None:
    run = node("run", wait("the end of the last evaluation", "env-0", seconds=50.0, left=550.0))
    acting = node("env-0", wait("the actions of tick 9 (evaluation)", "agent-1", seconds=3.0))
    assert said(run, node("env-0"), node("agent-1"))[0][0] == "good"
    ((level, text),) = said(run, acting, node("agent-1", system="T"))
    assert level == "bad" and text.startswith(
        "the run server waits for the end of the last evaluation from env-0 (50.0 s of 600 s); env-0 waits for"
    )
    assert text.endswith("agent-1 does not answer: stopped (SIGSTOP)")
    starting = node("agent-0", wait("the start of the run", "run")), node("run", wait("the registration", "agent-1", seconds=6.0))
    ((level, text),) = said(*starting, node("agent-1", state="joining", age=None, silent=5.0))
    assert level == "warn" and text.startswith("the run server waits for the registration from agent-1")


def test_a_cut_link_is_the_cause_of_waits_across_it() -> None:
    nodes = node("agent-0", wait("the trace of an episode", "agent-1")), node("agent-1"), node("agent-2")
    ((_, across),) = said(*nodes, faults=[fault("partition", "agent-0 | agent-1 agent-2")])
    assert across.endswith("; the link between agent-0 and agent-1 is cut by the fault by-hand-1")
    (elsewhere, other) = said(*nodes, faults=[fault("partition", "agent-0 | agent-2")])
    assert "agent-1 answers and does not stand still" in elsewhere[1] and other[1].startswith(
        "the fault by-hand-1 cuts agent-0 | agent-2, for 3.0 s"
    )
    ((_, lossy),) = said(*nodes, faults=[fault("link")])
    assert lossy.endswith("a message between agent-0 and agent-1 was lost or is delayed by the fault by-hand-1 of the links")


def test_two_that_wait_for_each_other() -> None:
    ((_, text),) = said(node("agent-0", wait("the plan", "agent-1")), node("agent-1", wait("the plan", "agent-0")))
    assert text.endswith("agent-0 waits too: a message between agent-0 and agent-1 was lost or is delayed")


def test_a_later_wait_of_the_peer_is_no_cause() -> None:
    (_, text), _ = said(
        node("agent-0", wait("the plan", "agent-1", seconds=9.0)),
        node("agent-1", wait("the observation after tick 3", "env-0", seconds=1.2)),
        node("env-0"),
    )
    assert text.startswith("agent-0 waits for the plan from agent-1 (9.0 s); agent-1 answers")


def test_a_wait_without_known_cause_is_dropped_beside_a_known_one() -> None:
    chains = said(
        node("agent-0", wait("the plan", "agent-2")),
        node("agent-1", wait("the plan", "agent-3")),
        node("agent-2", system="T"),
        node("agent-3"),
    )
    assert len(chains) == 1 and "agent-2 does not answer" in chains[0][1]


def test_frames_of_libraries_are_passed_over_and_a_dump_has_the_main_thread_last() -> None:
    assert short_frame(["wait in /usr/lib/python3.11/threading.py:1"]) == "wait in threading.py:1"
    dump = (
        'Thread 0x0001 (most recent call first):\n  File "/a/loop.py", line 3 in poll\n\n'
        'Current thread 0x0002 (most recent call first):\n  File "/a/my_env.py", line 31 in step\n  File "/a/main.py", line 2 in main\n'
    )
    assert main_thread(dump) == ("step in /a/my_env.py:31", "main in /a/main.py:2")
