"""What a person asks of a living run: that single nodes are stopped and started again, that a fault begins, that faults end.

A restart by hand is no failure: the node receives a stop command (so that it leaves a checkpoint), then SIGTERM, then SIGKILL, and its next
incarnation starts at once, whatever the restart policy has counted so far. A fault by hand is an entry of `faults.events` that begins now;
from then on the fault scheduler treats it as any other.

Under `clock: logical` neither can be had: all nodes would need the tick beforehand, and a run that was meddled with does not
repeat.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from math import floor
from typing import Any

from orchestrator.config.checks.field_checks import validate
from orchestrator.config.configuration import Configuration
from orchestrator.config.parsing.yaml_tree import Location, format_path, planted
from orchestrator.run_server.faults.fault_plan import entry
from orchestrator.run_server.faults.fault_scheduler import FaultScheduler
from orchestrator.run_server.hosts.node_commands import NodeCommands
from orchestrator.run_server.hosts.restart_supervision import RestartDecision
from orchestrator.run_server.hosts.run_nodes import ENVIRONMENT, RunNodes
from orchestrator.run_server.lead.ordered_stop import OrderedStop, StopTimeouts
from orchestrator.run_server.lead.status_snapshot import RunView
from protocols.conversations.client_requests.client_messages import FaultRequest, RestartRequest
from protocols.conversations.membership.membership import MemberState
from protocols.conversations.membership.membership_messages import Refuse
from protocols.faults.fault_checks import FaultRuleContext, check_asked
from protocols.faults.fault_schedule import RunPosition, ends_of
from protocols.faults.node_faults.scheduled_faults import run_schedule
from protocols.faults.settings import FaultEvent
from protocols.runtime.errors import ConfigurationError, MurmurationError, ResourceError, UsageError
from protocols.runtime.settings_types import format_duration
from protocols.runtime.suggestions import hint
from protocols.transport import Transport

GRACE = StopTimeouts(stop=5.0, term=3.0)
"""of a restart by hand"""
REASON = "restarted by hand"
_LONGEST = 1000
_STAND_INS = {"id": "by-hand-0", "at": {"time": "0s"}}


class ManualFaults:
    """Executes the requests of clients: restarts of nodes, and faults that begin or end at once; see the module."""

    def __init__(self, view: RunView, transport: Transport, nodes: RunNodes, commands: NodeCommands, faults: FaultScheduler) -> None:
        self._view = view
        self._transport = transport
        self._nodes = nodes
        self._commands = commands
        self._faults = faults
        self._stopping: dict[str, OrderedStop] = {}
        self._cold: set[str] = set()

    def grant(self, wish: RestartRequest | FaultRequest, training: bool, now: float) -> Mapping[str, Any] | Refuse:
        """Do it, and return what is done; or why not. `training`: whether the run is in the phase in which this is possible."""
        try:
            self._possible(training, "a node can't be restarted" if isinstance(wish, RestartRequest) else "there are no faults")
            if isinstance(wish, RestartRequest):
                return self._restart(wish, now)
            return self._fault(wish.event, now) if wish.event else self._heal(wish.heal, now)
        except MurmurationError as error:
            return Refuse(code=int(error.exit_code), text=str(error)[:_LONGEST])

    def _possible(self, training: bool, what: str) -> None:
        view = self._view
        if view.configuration.clock == "logical":
            cure = (
                "write it into faults.events (orchestrate up ... 'faults.events=[...]')"
                if what.startswith("there")
                else f"stop the run and go on from its last checkpoint: orchestrate down {view.files.directory.name}, then "
                f"orchestrate up --resume {view.files.directory.name}; or let it die and return by faults.events"
            )
            raise UsageError(f"under clock: logical {what} by hand: that run could not be repeated; {cure}")
        if not training:
            raise ResourceError(f"{what} by hand while the run is in the phase {view.phase}; only in training")

    # --- restarts -----------------------------------------------------------------------------------------------------------------

    def _restart(self, wish: RestartRequest, now: float) -> dict[str, Any]:
        names = self._named(wish.nodes)
        if wish.cold and ENVIRONMENT in names:
            raise UsageError(
                f"{ENVIRONMENT} has no checkpoint that it could do without: what it keeps is how far the run is; "
                "restart it without --cold, or only agents with it"
            )
        members = self._view.membership.members
        for name in names:
            if wish.cold:
                self._cold.add(name)
            process = self._nodes.processes[name]
            if process.ended:
                self._view.supervisor.asked(name, now)
                text = f"{name} is started by hand: it was {members[name].state.value}"
                self._view.event("info", "node.restarted_by_hand", text, name, incarnation=process.start.incarnation)
            elif name not in self._stopping:
                self._faults.release(name, now)  # a paused process receives nothing
                self._stopping[name] = OrderedStop([{name}], grace=GRACE)
        return {"nodes": {name: members[name].incarnation for name in names}}

    def _named(self, patterns: Sequence[str]) -> list[str]:
        there = list(self._view.membership.members)
        for pattern in patterns:
            if not any(fnmatchcase(name, pattern) for name in there):
                cure = hint(pattern, [] if pattern.startswith("agent-") else there, f"they are {', '.join(there[:40])}")
                raise UsageError(f'"{pattern}" matches no node: {cure}')
        return [name for name in there if any(fnmatchcase(name, pattern) for pattern in patterns)]

    def tick(self, now: float) -> None:
        """Let those end that are to be restarted."""
        for name, stop in self._stopping.items():
            for _, measure in stop.tick(now, self._nodes.living):
                member = self._view.membership[name]
                if measure == "stop" and member.state != MemberState.JOINING:
                    self._commands.give(name, member.incarnation, "stop", now)
                else:
                    self._nodes.end(name, now=measure == "kill")

    def ended(self, name: str, now: float) -> RestartDecision | None:
        """What becomes of a process that ended: it is back at once if it was to be restarted by hand, else None."""
        if self._stopping.pop(name, None) is None:
            return None
        return self._view.supervisor.planned(name, 0.0, now, REASON)

    def starts_cold(self, name: str) -> bool:
        """Whether the incarnation that starts now begins without its checkpoints; true once for each wish."""
        cold = name in self._cold
        self._cold.discard(name)
        return cold

    # --- faults -------------------------------------------------------------------------------------------------------------------

    def _fault(self, text: str, now: float) -> dict[str, Any]:
        if self._faults.closed:
            raise UsageError(f"nothing can break any more: {self._faults.closed}")
        configuration, reached = self._view.configuration, self._faults.reached(now)
        event = read_event(text, self._faults.next_id(), reached, configuration)
        compiled = run_schedule(configuration.model_dump(mode="json")).compiled(event)
        if event.link is not None and event.link.corrupt is not None:
            self._transport.guard.damage_expected = True
        asked = entry(compiled)
        self._faults.ask(asked, now)
        return {"id": asked.id, "text": asked.text(), "targets": list(asked.targets)}

    def _heal(self, fault: str, now: float) -> dict[str, Any]:
        there = [one["id"] for one in self._faults.on()]
        if fault != "*" and fault not in there:
            known = ", ".join(sorted(set(there))) or "none"
            raise UsageError(f'no fault with the id "{fault}" is on; those that are: {known}')
        ended = self._faults.heal_by_hand(fault, now)
        self._view.event("info", "fault.healed_by_hand", f"healed by hand: {', '.join(ended) or 'nothing was broken'}")
        return {"ended": ended}


def read_event(text: str, name: str, reached: RunPosition, configuration: Configuration) -> FaultEvent:
    """A fault that begins where the run is now, from JSON as for `faults.events` without `id` and `at`, held to the same rules.
    `ConfigurationError` names everything that is wrong with it."""
    try:
        given = json.loads(text)
    except ValueError as error:
        raise ConfigurationError(f"the fault is no JSON: {error}") from None
    if not isinstance(given, dict):
        raise ConfigurationError("the fault is not a map of keys; write for example {process: {target: agent-2, action: kill}}")
    for key in ("id", "at"):
        if key in given:
            raise ConfigurationError(f"{key}: is not given by hand: it begins now, and gets the id {name}; remove it")
    # Rounded down to milliseconds: rounded to the nearest, it would begin after the moment that is sent along as reached.
    given |= {"id": name, "at": {"time": format_duration(floor(reached.time * 1000) / 1000)}}
    checked = validate(planted(given, Location("fault")), FaultEvent, _STAND_INS)
    problems = [problem.message for problem in checked.problems]
    if checked.model is not None and not problems:
        until = configuration.until
        ends = ends_of({"time": until.time, "steps": until.steps, "episodes": until.episodes})
        run = FaultRuleContext(configuration.agent_names(), ends, configuration.exchange.consensus is not None)
        problems = [f"{format_path(fault.path)}: {fault.text}" for fault in check_asked(checked.model, (), configuration.faults, run)]
    if checked.model is None or problems:
        raise ConfigurationError("; ".join(problems) or "the fault can't be read")
    return checked.model
