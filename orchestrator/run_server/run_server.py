"""The run server: one process that leads one run from its directory alone, and outlives the terminal that started it.

`main(directory)` is that process (`detached.start_detached` starts it). The directory holds `config.json`; all
else is written here (see `docs/reference/run_directory.md`). When it ends, no process of the run is left and `run.json` contains how
the run ended; only then the lock is released.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import secrets
import signal
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from orchestrator.config.configuration import Configuration
from orchestrator.config.resolved_configuration import digest, recorded
from orchestrator.launch.addresses import is_any, is_foreign
from orchestrator.launch.engine import PRELOAD, ROLES, Engine, Invitation, clean_up, make_engine
from orchestrator.launch.process_control import sweep
from orchestrator.results.kept_outcome import keep_node_files, restore_outcome, surpassed
from orchestrator.results.run_files import CLIENT_KEYS, EventLog, RunFiles, RunLock, utc_now, write_json
from orchestrator.results.software_versions import code_version, versions
from orchestrator.run_server.faults.fault_conclusion import conclude
from orchestrator.run_server.faults.fault_plan import make_plan
from orchestrator.run_server.hosts.node_commands import Admission
from orchestrator.run_server.hosts.restart_supervision import RestartPolicy, Supervisor
from orchestrator.run_server.hosts.run_hosts import RunHosts
from orchestrator.run_server.hosts.run_nodes import ENVIRONMENT
from orchestrator.run_server.lead.living_run import LivingRun, find_living
from orchestrator.run_server.lead.run_closing import sink_context, sum_up
from orchestrator.run_server.lead.run_leader import RunLeader, RunOutcome
from orchestrator.run_server.lead.run_progress import RunProgress
from orchestrator.run_server.lead.run_resumption import go_back
from orchestrator.run_server.lead.status_snapshot import NUMBERS_PER_SEGMENT, RunView
from orchestrator.run_server.metrics.metrics_collector import MetricsCollector
from orchestrator.run_server.metrics.sinks.live_sinks import live_sinks
from orchestrator.run_server.run_start import START_TIMEOUT
from orchestrator.run_server.system_errors import resource_error
from protocols.conversations.membership.membership import Membership, MembershipTimeouts
from protocols.faults.node_faults.scheduled_faults import run_schedule
from protocols.runtime import logs
from protocols.runtime.clock import TrainingLimits
from protocols.runtime.errors import ConfigurationError, ExitCode, MurmurationError, ResourceError
from protocols.runtime.key_pairs import KeyPair, remove_keys, write_pair
from protocols.runtime.node_start import RUN_SERVER, Carrier, ipc_works, shared_memory_works
from protocols.runtime.seeds import Stream, generator
from protocols.topology import build
from protocols.transport import Identity, Transport, TransportOptions
from protocols.transport.sockets import advertised
from protocols.wire.messages import Role

logger = logging.getLogger(__name__)
_held: list[RunLock] = []


def serve(
    directory: Path,
    start_timeout: float = START_TIMEOUT,
    roles: Mapping[str, str] = ROLES,
    preload: Sequence[str] = PRELOAD,
) -> int:
    """Lead the run in `directory` to its end; the exit code of the run. `roles` maps each role to its entry point."""
    files = RunFiles(directory)
    files.configuration_json()  # an error if this is no run directory, before anything is written there
    # Held until this process is gone, not a moment less: who finds it free may rely on nothing of the run being left.
    _held.append(RunLock(files.directory))
    outcome = _Server(files, start_timeout, roles, preload).run()
    end = {"state": outcome.state, "exit_code": int(outcome.exit_code), "reason": outcome.reason, "ended": utc_now()}
    try:
        files.control.unlink(missing_ok=True)
        remove_keys(files.keys)
        if not restore_outcome(files.directory, end):
            files.update(**end)
    except OSError as error:
        known = resource_error(error, files.directory)
        if known is None:
            raise
        logger.error("run.json does not have the end of the run (%s): %s", outcome.state, known)
    logger.info("%s, exit %d: %s", outcome.state, outcome.exit_code, outcome.reason)
    return int(outcome.exit_code)


class _Server:
    """Sets everything up around a `RunLeader`, and everything down after it."""

    def __init__(self, files: RunFiles, start_timeout: float, roles: Mapping[str, str], preload: Sequence[str]) -> None:
        self._files = files
        self._start_timeout = start_timeout
        self._roles = roles
        self._preload = preload
        self._started = time.monotonic()
        self._engine: Engine[Any] | None = None
        self._transport: Transport | None = None
        self._leader: RunLeader | None = None
        self._signals: list[int] = []

    def run(self) -> RunOutcome:
        """Lead; whatever goes wrong becomes an outcome."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda number, _: self._signals.append(number))
        outcome: RunOutcome | None = None
        try:
            self._note_start()
            leader = self._set_up()
            while leader.turn():
                pass
            outcome = leader.outcome
        except MurmurationError as error:
            logger.error("%s", error)
            outcome = RunOutcome("FAILED", error.exit_code, str(error))
        except Exception as error:
            known = resource_error(error, self._files.directory)
            if known is not None:
                logger.error("%s", known)
                if self._transport is not None:  # its descriptors may be those that are missing
                    self._transport.close(linger=0.1)
                    self._transport = None
                return RunOutcome("FAILED", ExitCode.RESOURCES, str(known))
            logger.exception("the run server failed")
            outcome = RunOutcome("FAILED", ExitCode.CRASH, f"the run server failed: {type(error).__name__}: {error}")
        finally:
            self._tear_down()
        outcome = outcome or RunOutcome("FAILED", ExitCode.CRASH, "the run server came to its end without an outcome")
        if self._leader is None:
            return outcome
        if outcome.state != "DONE" and not surpassed(self._files.directory):
            ended = f"{outcome.state}, exit {int(outcome.exit_code)}: {outcome.reason}; no more was done, and the record of the run stays"
            self._leader.view.events.record("info", "run.ended", ended)
            return outcome
        sum_up(self._leader.view, outcome, self._transport)
        return self._judge(self._leader, outcome)

    def _note_start(self) -> None:
        state = self._files.state
        self._files.update(
            name=self._files.directory.name,
            state="STARTING",
            exit_code=None,
            reason="",
            started=utc_now(),
            first_started=state.get("first_started") or state.get("started") or utc_now(),
            ended=None,
            pid=os.getpid(),
            segment=int(state.get("segment") or 0) + 1,
            code_version=code_version(),
        )
        write_json(self._files.directory / "versions.json", versions())

    def _set_up(self) -> RunLeader:
        """Sockets first, then `control.json`, then hosts: a busy port leaves nothing behind."""
        files = self._files
        try:
            configuration = recorded(files.configuration_json())
        except ValidationError as error:
            raise ConfigurationError(f"{files.directory}/config.json does not fit this version: {error}") from None
        engine_name = configuration.launch.engine
        living = find_living(files.directory, configuration) if int(files.state["segment"]) > 1 else None
        files.update(engine=engine_name, config_digest=digest(configuration))
        self._engine = engine = make_engine(engine_name, files.directory)
        if problems := engine.problems(configuration):
            raise ResourceError("; ".join(problems))
        keys = KeyPair.make() if configuration.encrypted else None
        identity = Identity(files.directory.name, RUN_SERVER, int(files.state["segment"]), "run")
        network = configuration.network
        bound = engine.address(configuration) if network.bind == "auto" else network.bind
        if living is not None:
            try:
                transport, control, telemetry = self._listen(
                    identity, configuration, bound, None, living.token, (living.control, living.telemetry)
                )
            except ResourceError as error:
                logger.warning("the processes of the run can't be taken over: %s", error)
                living = None
        if living is None:
            files.update(began=None, training_over="")
            token = secrets.token_hex(32) if keys is None else ""
            transport, control, telemetry = self._listen(identity, configuration, bound, keys, token)
        token = transport.options.token
        if keys is not None:
            self._let_command_lines_in(transport)
        else:
            transport.guard.token = token
            logger.info("connections are not encrypted, and reach this machine only; every one needs the run's token")
        if run_schedule(configuration.model_dump(mode="json")).damages:
            transport.guard.damage_expected = True
        view = _make_view(files, configuration, self._started, living)
        if int(files.state["segment"]) > 1 and living is None:
            self._go_on(view)
        supervision = configuration.supervision
        hosts = RunHosts(
            engine,
            MembershipTimeouts(supervision.suspect, configuration.dead_after, 0.0, self._start_timeout),
            lambda host, key: transport.guard.admit(key, host, "host"),
        )
        # Command lines on this machine need not be able to reach it by the name that others know it by.
        here = advertised(control, "127.0.0.1" if is_any(bound) else bound)
        address = {
            "endpoint": control,
            "machine": socket.gethostname(),
            "here": here,
            "telemetry": telemetry,
            "run": files.directory.name,
            "pid": os.getpid(),
        }
        address |= {"token": token} if keys is None else {"key": keys.public}
        write_json(files.control, address, private=True)
        invitation = Invitation(
            run=files.directory.name,
            directory=str(files.directory),
            control=control,
            telemetry=telemetry,
            token_file=str(files.control) if keys is None else "",
            host="",
            seed=configuration.seed,
            heartbeat=supervision.heartbeat,
            orphan=supervision.orphan,
            carrier=_carrier(configuration),
            home=configuration.launch.home,
            bind=bound if configuration.launch.one_machine else "",
            advertise=network.advertise if configuration.launch.one_machine else "",
            server_key="" if keys is None else keys.public,
            plugins=tuple(configuration.plugins),
            roles=dict(self._roles),
            preload=tuple(self._preload),
        )
        plan = make_plan(configuration)
        admission = Admission(token)
        leader = RunLeader(view, transport, hosts, invitation, admission, self._start_timeout, self._signals, plan, living)
        self._leader = leader
        engine.request(configuration, configuration.agents.count + 1)
        return leader

    def _listen(
        self,
        identity: Identity,
        configuration: Configuration,
        bound: str,
        keys: KeyPair | None,
        token: str,
        ports: tuple[int, int] = (0, 0),
    ) -> tuple[Transport, str, str]:
        """The transport, and the endpoints of `ctl` and `tele`. `ports`: 0 for that of the configuration, or a free one."""
        if self._transport is not None:
            self._transport.close(linger=0.0)
        self._transport = transport = Transport(identity, TransportOptions(keys=keys, token=token))
        return transport, *_bind(transport, configuration, bound, *ports)

    def _let_command_lines_in(self, transport: Transport) -> None:
        """Make the pair that command lines of this user find in the run's directory."""
        pair = KeyPair.make()
        try:
            write_pair(self._files.keys / CLIENT_KEYS, pair)
        except OSError as error:
            raise ResourceError(f"{self._files.keys} can't be written: {error.strerror}") from None
        transport.guard.admit(pair.public, "", "client")

    def _go_on(self, view: RunView) -> None:
        """The run was interrupted: what it has left behind is cleared away, and its nodes go on from their checkpoints."""
        clean_up(self._files.directory, str(self._files.state.get("engine") or "local"))
        text = "the run goes on from every node's newest checkpoint"
        if view.configuration.clock == "logical":
            settings = view.configuration
            limits = TrainingLimits(settings.until.model_dump(), settings.tick)
            keep_node_files(self._files.directory)
            tick = view.checkpoint = go_back(self._files.directory, settings.agent_names(), settings.tick, limits)
            text = (
                f"the run goes on from the checkpoint of tick {tick}" if tick >= 0 else "the run begins anew: there is no common checkpoint"
            )
        trained = {"trained": float(self._files.state.get("trained") or 0.0)}
        view.event("info", "run.resumed", f"segment {self._files.state['segment']}: {text}", fields=trained)

    def _tear_down(self) -> None:
        """Nothing of the run is left after this: the engine's processes, and by their mark any that escaped it."""
        for text in self._engine.release() if self._engine is not None else ():
            if self._leader is not None:
                self._leader.view.event("warning", "host.left", text)
            else:
                logger.warning("%s", text)
        if self._leader is not None:
            self._leader.view.collector.close()  # before the sweep: a sink may have a process of its own
        killed = sweep(self._files.directory)
        if killed:
            logger.warning("swept %d processes that were left", len(killed))
        if self._transport is not None:
            self._transport.close(linger=0.5)

    def _judge(self, leader: RunLeader, outcome: RunOutcome) -> RunOutcome:
        """The verdict on a run with faults: one that ended well ends with exit code 1 where an expectation failed."""
        try:
            outcome = conclude(leader.view, outcome)
        except Exception as error:
            logger.exception("the verdict failed")
            leader.view.events.record("error", "run.verdict", f"the verdict failed: {error}")
        leader.view.events.record("info", "run.ended", f"{outcome.state}, exit {int(outcome.exit_code)}: {outcome.reason}")
        return outcome


def _bind(
    transport: Transport, configuration: Configuration, bound: str, control_port: int = 0, telemetry_port: int = 0
) -> tuple[str, str]:
    """Endpoints of `ctl` and `tele`."""
    network = configuration.network
    try:
        control = transport.bind("ctl", bound, control_port or network.control_port, advertise=network.advertise)
        return control, transport.bind("tele", bound, telemetry_port, advertise=network.advertise)
    except ResourceError as error:
        if is_foreign(bound):
            cure = "write one that it has (`ip address` lists them), or network.bind=0.0.0.0 and network.advertise"
            raise ResourceError(f"network.bind {bound}: no network card of this machine has this address; {cure}") from None
        if not network.control_port:
            raise ResourceError(f"network.bind {bound}: {error}") from None
        text = f"network.control_port {network.control_port}: {error}. Set network.control_port=0 to take a free port"
        raise ResourceError(text) from None


def _carrier(configuration: Configuration) -> Carrier:
    """What connects nodes with each other: "auto" takes shared memory or Unix-domain sockets where all nodes are on this machine."""
    wanted = configuration.network.transport
    if wanted != "auto":
        return wanted
    if not (configuration.launch.one_machine and ipc_works()):
        return "tcp"
    return "shared" if shared_memory_works() else "ipc"


def _make_view(files: RunFiles, configuration: Configuration, started: float, living: LivingRun | None = None) -> RunView:
    supervision = configuration.supervision
    graph = build(configuration.network.topology, configuration.agent_names(), configuration.seed)
    roles: dict[str, Role] = {ENVIRONMENT: "env"}
    roles.update(dict.fromkeys(configuration.agent_names(), "agent"))
    policy = RestartPolicy(supervision.restart_delay, supervision.max_restart_delay, supervision.max_restarts, supervision.restart_window)
    random = generator(configuration.seed, RUN_SERVER, Stream.TRANSPORT)
    events = EventLog(files.directory)
    sinks = live_sinks(configuration.metrics.sinks, sink_context(files, configuration))
    progress = RunProgress(configuration.until, float(files.state.get("trained") or 0.0))
    if living is not None and not living.training_over:
        progress = RunProgress(configuration.until)
        progress.begin(living.began)
    version = int(files.state.get("segment") or 1) * NUMBERS_PER_SEGMENT
    return RunView(
        files,
        configuration,
        graph,
        Membership(MembershipTimeouts(supervision.suspect, configuration.dead_after, supervision.stuck), version),
        Supervisor(policy, roles, graph, supervision.min_agents, random),
        MetricsCollector(files.directory, sinks, lambda text: _warn(events, text), known=living is not None),
        progress,
        events,
        started,
    )


def _warn(events: EventLog, text: str) -> None:
    logger.warning("%s", text)
    events.record("warning", "metrics.sink", text)


def main(directory: Path, start_timeout: float = START_TIMEOUT) -> int:
    """Be the run server of this directory; the run's exit code."""
    logs.configure()
    if hasattr(signal, "SIGQUIT"):
        faulthandler.register(signal.SIGQUIT, all_threads=True)
    try:
        return serve(directory, start_timeout)
    except MurmurationError as error:
        logger.error("%s", error)
        return int(error.exit_code)
