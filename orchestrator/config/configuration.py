"""The whole configuration of a run, joined from the settings of all rooms."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from agent_node.settings.agent import AgentSettings
from agent_node.settings.exchange import ExchangeSettings
from env_server.settings import EnvironmentSettings, EvaluationSettings
from orchestrator.launch.launch_settings import LaunchSettings
from orchestrator.run_server.metrics.sinks.settings import ROOM as SINKS
from orchestrator.run_server.metrics.sinks.settings import CsvSettings, SinkSettings, TensorBoardSettings
from protocols.datasets.settings import Dataset
from protocols.faults.settings import FaultsSettings, LinkRule
from protocols.runtime.component_registry import Registered
from protocols.runtime.node_start import is_loopback
from protocols.runtime.settings_types import Duration, NodeName, Settings
from protocols.topology.settings import ROOM, RingSettings, TopologySettings

DEAD, DEAD_ELSEWHERE = 10.0, 20.0
"""default of `supervision.dead`, in seconds, on one machine and on several"""


class Until(Settings):
    """When training ends: at the first of these limits. A last evaluation follows."""

    episodes: Annotated[int, Field(ge=1)] | None = None
    """finished training episodes"""
    steps: Annotated[int, Field(ge=1)] | None = None
    """steps of environment copies (one joint step of one copy counts one); with `dataset`, updates of each agent"""
    time: Duration | None = None
    """wall-clock time since all nodes were up"""

    @model_validator(mode="after")
    def _some(self) -> Until:
        if self.episodes is None and self.steps is None and self.time is None:
            raise ValueError("give at least one of episodes, steps, time")
        return self


class AgentsSettings(AgentSettings):
    """The agents: their number, their components, and the agents that differ."""

    count: Annotated[int, Field(ge=1, le=1024)] = 4
    """agents, named agent-0, agent-1, ..."""
    overrides: dict[NodeName, dict[str, Any]] = {}
    """by agent, the keys in which it differs: {agent-2: {learner: {learning_rate: 1e-4}}}"""


class NetworkSettings(Settings):
    """The communication graph, and the addresses and ports of the processes."""

    topology: Annotated[TopologySettings, Registered(ROOM)] = RingSettings()
    """the communication graph between agents"""
    links: list[LinkRule] = []
    """effects of the links on messages during the whole run: delay, loss, bandwidth, ... (rules as in `faults.links`, drawn from
    `faults.seed`)"""
    bind: str = "auto"
    """address that the run server's sockets are bound to; connections that other machines can reach are encrypted (`security`). auto:
    127.0.0.1 where all nodes are on this machine, else the address by which the engine's hosts reach it. Other machines bind to the address
    by which they reach this one"""
    advertise: str = ""
    """address or name by which other machines reach this one, where it differs from the bound one (which is 0.0.0.0, or translated); empty:
    the bound one"""
    control_port: Annotated[int, Field(ge=0, le=65535)] = 0
    """port of the run server; 0: a free one. All other ports are free ones"""
    transport: Literal["auto", "tcp", "ipc", "shared"] = "auto"
    """connections between nodes. shared: Unix-domain sockets, and shared memory for arrays of 64 KiB and more, on one machine only; ipc:
    Unix-domain sockets alone; tcp; auto: the first of these that the machine has, tcp for several machines"""


class SecuritySettings(Settings):
    """Encryption and admission of connections."""

    mode: Literal["auto", "curve", "none"] = "auto"
    """curve: every connection is encrypted, and only processes of this run are admitted, each by its own key; none: neither, on this
    machine only; auto: curve as soon as other machines can reach a socket"""


class SupervisionSettings(Settings):
    """Restarts of nodes, failure detection, and the end of a run that loses too many agents."""

    min_agents: Annotated[int, Field(ge=1)] = 1
    """the run ends in order, with exit code 20, when fewer agents than this are left"""
    restart_delay: Duration = 0.5
    """delay before the first restart; it doubles with every further one"""
    max_restart_delay: Duration = 30.0
    """longest delay before a restart"""
    max_restarts: Annotated[int, Field(ge=0)] = 5
    """restarts of one node within `restart_window`, after which it is not restarted again"""
    restart_window: Duration = 600.0
    """the time in which restarts are counted"""
    checkpoint_interval: Duration = 60.0
    """time between two checkpoints of a node"""
    keep_checkpoints: Annotated[int, Field(ge=1, le=1000)] = 2
    """checkpoints kept per node"""
    heartbeat: Annotated[Duration, Field(gt=0)] = 0.5
    """time between two heartbeats"""
    suspect: Annotated[Duration, Field(gt=0)] = 3.0
    """time without a heartbeat after which a node is suspected"""
    dead: Annotated[Duration, Field(gt=0)] | None = None
    """time without a heartbeat after which a node or a host is declared dead and ended; null: 10 s on one machine, else 20 s (a connection
    that was cut for 10 s is silent for 13 s: TCP doubles its wait before each new attempt)"""
    stuck: Annotated[Duration, Field(ge=0)] = 60.0
    """time without progress after which a live node is reported as stuck; 0s: never"""
    orphan: Annotated[Duration, Field(gt=0)] = 300.0
    """time without a run server, or a successor of it, after which a host ends its nodes, which write checkpoints, and itself"""


class MetricsSettings(Settings):
    """How often metrics are written, and in which formats."""

    every: Annotated[Duration, Field(gt=0)] = 2.0
    """time between two rows of metrics of a node"""
    sinks: list[Annotated[SinkSettings, Registered(SINKS, by_name=True)]] = [CsvSettings(), TensorBoardSettings()]
    """besides the nodes' own files: csv, parquet, tensorboard, wandb, mlflow; a name, or {kind: NAME} with the keys of that sink"""


class Configuration(Settings):
    """The complete configuration of a run, version 2 of the format."""

    version: Literal[2] = 2
    """version of this format"""
    plugins: list[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$", max_length=200)]] = []
    """modules to import first, which register components; found in the working directory, beside this file, or installed"""
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,40}$")] = "run"
    """runs are called NAME-two-words-number"""
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] = 0
    """every stream of random numbers derives from it"""
    clock: Literal["wall", "logical"] = "wall"
    """wall: processes run freely, times are real seconds; logical: agents advance from tick to tick together, every time in this file is
    counted in ticks, and two runs of one seed are equal bit for bit, faults included"""
    tick: Annotated[Duration, Field(gt=0)] = 0.01
    """logical clock: virtual time of one step message, messages between agents included"""
    until: Until
    """when training ends"""
    environment: EnvironmentSettings
    """the environment"""
    evaluation: EvaluationSettings = EvaluationSettings()
    """episodes with greedy policies, not used for learning"""
    dataset: Dataset | None = None
    """a dataset that the agents learn from, each from its own shard, while the environment is played in evaluations only; null: they learn
    from the episodes that they play"""
    init_from: Annotated[str, Field(min_length=1, max_length=1000)] | None = None
    """directory of a run, relative to the working directory, with whose learners and world models the agents begin, as in its newest
    checkpoints (agent i as agent i mod n of that run's n); its buffers and exchanges are not taken. null: the agents begin untrained"""
    record_episodes: bool = False
    """true: each agent keeps all its training episodes in `nodes/AGENT/episodes`, of which `orchestrate dataset collect` makes a dataset"""
    agents: AgentsSettings = AgentsSettings()
    """the agents and their components"""
    network: NetworkSettings = NetworkSettings()
    """the communication graph, and addresses"""
    security: SecuritySettings = SecuritySettings()
    """encryption and admission of connections"""
    exchange: ExchangeSettings = ExchangeSettings()
    """what agents exchange with their neighbours"""
    faults: FaultsSettings | None = None
    """injected faults, and when; null: none"""
    supervision: SupervisionSettings = SupervisionSettings()
    """failure detection and restarts"""
    launch: LaunchSettings = LaunchSettings()
    """where processes run"""
    metrics: MetricsSettings = MetricsSettings()
    """metrics that are written"""

    @property
    def dead_after(self) -> float:
        """Seconds of silence after which a node or a host is declared dead."""
        if self.supervision.dead is not None:
            return self.supervision.dead
        return DEAD if self.launch.one_machine else DEAD_ELSEWHERE

    @property
    def exposed(self) -> str:
        """What others can reach, in words; "" where nothing leaves this machine."""
        if self.network.bind != "auto" and not is_loopback(self.network.bind):
            return f"network.bind is {self.network.bind}, which can be reached from outside"
        return "" if self.launch.one_machine else f"launch.engine is {self.launch.engine}, which may use several machines"

    @property
    def encrypted(self) -> bool:
        """Whether every socket of the run uses CURVE: `security.mode`, where `auto` means as soon as anything leaves this machine."""
        return self.security.mode == "curve" or (self.security.mode == "auto" and bool(self.exposed))

    def agent_names(self) -> list[str]:
        """Names of all agents: agent-0, agent-1, ..., in order."""
        return [f"agent-{i}" for i in range(self.agents.count)]
