"""Broken configurations. `«` marks where a mistake stands (it is not part of the file); `expected` lists the mistakes in the order
of their marks, then those of arguments (`argument`) and of neighbouring files (`file`)."""

from __future__ import annotations

from dataclasses import dataclass, field

START = "version: 2\nuntil: {time: 10s}\n"
PLACE = "environment: {id: landmarks}\n"
LEARNERS = "auto, bc, cql, dbr, discrete_bcq, discrete_bear"
"""the first kinds of the list"""
NEGOTIATED = "  negotiation: {kind: coordination_game}\n"


@dataclass(frozen=True)
class Mistake:
    """Expected message of one mistake."""

    path: str
    says: str
    suggestion: str | None = None
    argument: int = 0
    file: str = ""


@dataclass(frozen=True)
class Broken:
    """One configuration with all its mistakes."""

    name: str
    text: str
    expected: tuple[Mistake, ...]
    overrides: tuple[str, ...] = ()
    files: dict[str, str] = field(default_factory=dict)


def _case(name: str, text: str, *expected: Mistake, overrides: tuple[str, ...] = (), files: dict[str, str] | None = None) -> Broken:
    return Broken(name, text, expected, overrides, files or {})


M = Mistake
CASES = [
    _case(
        "a supervisor and agents that negotiate",
        START + "environment: {id: landmarks, supervisor: «{alignment: 0.5}}\nexchange:\n" + NEGOTIATED,
        M("environment.supervisor", "gives the agents their goals, and exchange.negotiation"),
    ),
    _case(
        "goals by the traces of partners, without traces",
        START + PLACE + "agents: {goals: {kind: «joint_learning_progress}}\nexchange: {hindsight: null}\n",
        M("agents.goals.kind", "learns from the traces of partners after an episode, and exchange.hindsight is null"),
    ),
    _case(
        "relabelled and received transitions, and a learner that needs returns of whole episodes",
        START + PLACE + "agents: {count: 2, learner: {kind: dbr}}\nexchange: {hindsight: {share: «0.5}}\n",
        M("exchange.hindsight.share", "learner dbr needs the returns of whole episodes of its own, which relabelled transitions have not"),
    ),
    _case(
        "relabelled transitions, and a learner that needs the actions that follow",
        START + PLACE + "agents: {count: 2, learner: {kind: discrete_icq}}\nexchange: {hindsight: {share: «0.5}}\n",
        M("exchange.hindsight.share", "discrete_icq needs the following actions of whole episodes of its own"),
    ),
    _case(
        "keys that belong elsewhere",
        START + PLACE + "«goals: {kind: bandit}\nagents: {«supervisor: {}}\n",
        M("goals", "its place is environment.goals or agents.goals"),
        M("agents.supervisor", "its place is environment.supervisor"),
    ),
    _case(
        "a key of another kind",
        START + PLACE + "agents: {learner: {kind: double_dqn, «clip: 0.2}}\n",
        M("agents.learner.clip", "the keys here are kind, learning_rate"),
    ),
    _case(
        "a key of other kinds that resembles one of this kind",
        START + PLACE + "agents: {learner: {kind: ppo, «n_step: 3}}\n",
        M("agents.learner.n_step", "unknown key; it is a key of discrete_bcq, discrete_cql, double_dqn; the keys here are"),
    ),
    _case(
        "a key of some kinds, without a kind",
        START + PLACE + "agents: {learner: «{n_step: 3}}\n",
        M("agents.learner", 'the key "kind" is missing; with n_step it is one of discrete_bcq, discrete_cql, double_dqn'),
    ),
    _case(
        "true for a map of keys",
        START + PLACE + "agents: {learner: {kind: double_dqn, prioritized_replay: «true}}\n",
        M("agents.learner.prioritized_replay", "true is not a map of keys; write {} for the defaults"),
    ),
    _case(
        "goals and traces without a wait",
        START + PLACE + "exchange:\n  negotiation: {kind: coordination_game, deadline: «0s}\n  hindsight: {deadline: «0s}\n",
        M("exchange.negotiation.deadline", "is not more than 0"),
        M("exchange.hindsight.deadline", "is not more than 0"),
    ),
    _case(
        "an agreement that takes longer than there is time",
        START + PLACE + "clock: logical\nexchange: {negotiation: {kind: coordination_game, deadline: «19ms}}\n",
        M("exchange.negotiation.deadline", "take two ticks of 10ms"),
    ),
    _case(
        "all agents leave",
        START + PLACE + "faults: {events: [{id: a, at: {step: 5}, membership: {leave: «'agent-*'}},\n"
        "  {id: b, at: {step: 5}, process: {target: «'*', action: term}},\n"
        "  {id: c, at: {step: 5}, process: {target: '*', action: term, restart_after: 1s}}]}\n",
        M("faults.events[0].membership.leave", "no agent would be left; name some, or write return_after"),
        M("faults.events[1].process.target", "no agent would be left; name some, or write restart_after"),
    ),
    _case(
        "a supervisor that could only forbid",
        START + "environment: {id: landmarks, supervisor: {alignment: «0.05}}\n",
        M("environment.supervisor.alignment", "0.05 is less than the 0.111"),
    ),
    _case(
        "relabelled and imagined transitions for a learner that takes none",
        START + PLACE + "agents:\n  learner: {kind: ppo}\n  world_model: {kind: ensemble, imagined_ratio: «0.2}\n"
        "exchange:\n  hindsight: {share: «0.6}\n",
        M("agents.world_model.imagined_ratio", "uses real transitions only, each once"),
        M("exchange.hindsight.share", "off the policy of learner ppo"),
    ),
    _case(
        "statistics of what is no sum",
        START + PLACE + "agents: {world_model: {kind: ensemble}}\nexchange: {statistics: «{}}\n",
        M(
            "exchange.statistics",
            "the world model of agent-0, ensemble, has no additive statistics; write null, or choose agents.world_model.kind gp",
        ),
    ),
    _case(
        "sums that fall",
        START + "environment: {id: reward_collection}\n"
        "agents: {count: 2, goals: null, learner: {kind: sac}, world_model: {kind: gp, imagined_ratio: 0, half_life: 500}}\n"
        "exchange: {statistics: «{}}\n",
        M("exchange.statistics", "half_life (agents.world_model of agent-0) makes sums decrease; exchanged statistics must only grow"),
    ),
    _case(
        "kept imagination of what has goals",
        START + PLACE + "agents: {world_model: {kind: ensemble, imagination: «{}}}\n",
        M("agents.world_model.imagination", "imagined transitions that are kept have no goals; write null"),
    ),
    _case(
        "a ledger of too many",
        START + "environment: {id: reward_collection}\nagents: {count: 129, goals: null, learner: {kind: sac},\n"
        "  world_model: {kind: gp, imagined_ratio: 0}}\n"
        "exchange: {statistics: {mode: «ledger}}\n",
        M("exchange.statistics.mode", "a ledger holds the statistics of up to 128 agents, not of 129; use pushsum"),
    ),
    _case(
        "rewards that no model predicts",
        START + "environment: {id: reward_collection}\n"
        "agents: {count: 2, goals: null, learner: {kind: sac}, world_model: «{kind: gp}, overrides: {agent-1: {world_model: "
        "{kind: gp, imagination: {reward: «model}}}}}\n",
        M("agents.world_model", "gp predicts no rewards, so that every imagined transition would have reward 0"),
        M(
            "agents.overrides.agent-1.world_model.imagination.reward",
            "write imagination: {reward: learned} (or known), or imagined_ratio: 0",
        ),
    ),
    _case(
        "plans that no model uses",
        START + PLACE + "agents: {world_model: {kind: ensemble}}\nexchange: {plans: «{}}\n",
        M("exchange.plans", "plans need a world model with uncertainty (gp) and agents.optimism, which agent-0 does not have"),
    ),
    _case(
        "averages of statistics on one-way edges",
        START + "environment: {id: reward_collection}\nagents: {count: 4, goals: null, learner: {kind: sac},\n"
        "  world_model: {kind: gp, imagined_ratio: 0}}\n"
        "network: {topology: {kind: exponential}}\nexchange: {statistics: {mode: «mh}}\n",
        M("exchange.statistics.mode", '"mh" needs an undirected graph'),
    ),
    _case(
        "whole episodes for a learner that takes none",
        START
        + "environment: {id: reward_collection}\nagents: {count: 2, goals: null, learner: {kind: ppo}}\nexchange: {experience: «{}}\n",
        M("exchange.experience", "ppo of agent-0 uses its own transitions only, each once"),
    ),
    _case(
        "whole episodes of agents with goals",
        START + PLACE + "exchange: {experience: «{}}\n",
        M("exchange.experience", "rewards in landmarks depend on the goal that was pursued"),
    ),
    _case(
        "optimism that no model or learner supports",
        START + "environment: {id: 'gymnasium:Pendulum-v1'}\nagents:\n  count: 1\n  goals: null\n  learner: {kind: sac}\n"
        "  world_model: {kind: ensemble}\n  optimism: «{kind: bonus}\n",
        M("agents.optimism", "write world_model.imagination: {}"),
    ),
    _case(
        "unknown key in a block and in a flow map",
        START + PLACE + "agents:\n  «cuont: 4\n  learner: {kind: double_dqn, «learning_rat: 1e-3}\n",
        M("agents.cuont", "unknown key", "count"),
        M("agents.learner.learning_rat", "unknown key", "learning_rate"),
    ),
    _case(
        "unknown section and what is wrong inside it",
        START + PLACE + "«netwrok:\n  topology: {kind: «rign}\n",
        M("netwrok", "unknown key", "network"),
        M("network.topology.kind", '"rign" is not one of complete, edges', "ring"),
    ),
    _case(
        "unknown key like nothing else",
        START + PLACE + "supervision:\n  «zzz: 3\n",
        M("supervision.zzz", "unknown key; the keys here are min_agents, restart_delay, max_restart_delay"),
    ),
    _case(
        "wrong types",
        START + PLACE + "agents:\n  count: «four\n  buffer: {transitions: «2.5}\nnetwork: {bind: «7}\nevaluation: {aligned: «yes}\n",
        M("agents.count", '"four" is not a whole number'),
        M("agents.buffer.transitions", "2.5 is not a whole number"),
        M("network.bind", "7 is not a text"),
        M("evaluation.aligned", '"yes" is neither true nor false', "true"),
    ),
    _case(
        "quoted numbers are texts",
        START + PLACE + 'agents:\n  count: «"4"\nseed: «"0"\n',
        M("agents.count", '"4" is not a whole number'),
        M("seed", '"0" is not a whole number'),
    ),
    _case(
        "ranges",
        START
        + "environment: {id: landmarks, copies: «0}\n"
        + "agents:\n  count: «5000\n  learner: {kind: double_dqn, learning_rate: «0, discount: «1.5}\n",
        M("environment.copies", "0 is less than 1"),
        M("agents.count", "5000 is more than 1024"),
        M("agents.learner.learning_rate", "0 is not more than 0"),
        M("agents.learner.discount", "1.5 is more than 1"),
    ),
    _case(
        "units",
        "version: 2\nuntil: {time: «20}\n"
        + 'environment:\n  id: landmarks\n  deadline: «"2"\n  goal_deadline: «3sec\nlaunch: {resources: {agent: {memory: «512}}}\n',
        M("until.time", "20 has no unit; write 20ms or 20s"),
        M("environment.deadline", '"2" has no unit; write 2ms or 2s'),
        M("environment.goal_deadline", '"3sec" has the unknown unit sec; units are us, ms, s'),
        M("launch.resources.agent.memory", "512 has no unit; write 512MiB or 512GiB"),
    ),
    _case(
        "choices",
        START
        + "environment: {id: landmarks, late_action: «repaet}\n"
        + "launch: {engine: «rey, threads: «fast}\nmetrics: {sinks: [csv, «tensorbord]}\n",
        M("environment.late_action", '"repaet" is not one of repeat, noop, random', "repeat"),
        M("launch.engine", '"rey" is not one of local, ray, slurm, ssh', "ray"),
        M("launch.threads", '"fast" is not a whole number, and is not auto'),
        M("metrics.sinks[1]", '"tensorbord" is not one of csv, mlflow, parquet, tensorboard, wandb', "tensorboard"),
    ),
    _case(
        "missing keys",
        "«name: lost\nenvironment: «{copies: 4}\n",
        M("until", "this key is required, but missing"),
        M("environment.id", "this key is required, but missing"),
    ),
    _case(
        "components of unknown kind, and their other keys",
        START
        + PLACE
        + "agents:\n  learner: {kind: «double_dqm, «learning_rat: 0.1}\n  world_model: {kind: «gaussian}\n  goals: {kind: «uniforn}\n",
        M("agents.learner.kind", f'"double_dqm" is not one of {LEARNERS}', "double_dqn"),
        M("agents.learner.learning_rat", "unknown key", "learning_rate"),
        M("agents.world_model.kind", '"gaussian" is not one of ensemble'),
        M("agents.goals.kind", '"uniforn" is not one of bandit, joint_learning_progress, learning_progress, uniform', "uniform"),
    ),
    _case(
        "component without a kind, and one that is no map",
        START + PLACE + "agents:\n  learner: «{learning_rate: 0.1}\n  world_model: «ensemble\n",
        M("agents.learner", f'the key "kind" is missing; it is one of {LEARNERS}'),
        M("agents.world_model", '"ensemble" is not a map of keys; write {kind: ensemble}'),
    ),
    _case(
        "a graph by its name alone",
        START + PLACE + "network:\n  topology: «strar\n",
        M("network.topology", '"strar" is not a map of keys; write {kind: star}'),
    ),
    _case(
        "edges between numbers",
        START + PLACE + "network: {topology: {kind: edges, edges: [[agent-0, «1], [agent-1, agent-0]]}}\n",
        M("network.topology.edges[0][1]", "1 is no name of an agent; write agent-1"),
    ),
    _case(
        "duplicate keys",
        START + PLACE + "agents:\n  count: 4\n  «count: 5\nexchange: {consensus: null, «consensus: null}\n",
        M("agents.count", "is given twice; the first is in line 5"),
        M("exchange.consensus", "is given twice; the first is in line 7"),
    ),
    _case(
        "broken YAML, and an argument beside it",
        START + "environment: {id: landmarks\nagents«: {count: 4}\n",
        M("", "is not YAML: expected ',' or '}', but got ':' while parsing a flow mapping that starts in line 3"),
        M("", '"agents.count" is not an override', argument=1),
        overrides=("agents.count",),
    ),
    _case(
        "a tab",
        START + "environment:\n«\tid: landmarks\n",
        M("", "is not YAML"),
    ),
    _case(
        "a tag",
        START + "environment: {id: «!!python/name:os.system landmarks}\n",
        M("environment.id", "has the tag"),
    ),
    _case(
        "edges to unknown agents",
        START + PLACE + "agents: {count: 3}\nnetwork:\n  topology:\n    kind: edges\n"
        "    edges: [[agent-0, agent-1], [agent-1, «agnet-2], [agent-2, «agent-7], «[agent-0, agent-0]]\n",
        M("network.topology.edges[1][1]", '"agnet-2" is no agent: they are agent-0 ... agent-2', "agent-2"),
        M("network.topology.edges[2][1]", '"agent-7" is no agent'),
        M("network.topology.edges[3]", "joins agent-0 with itself"),
    ),
    _case(
        "a graph in two parts, beside a wrong figure",
        START + PLACE + "network:\n  topology: «{kind: edges, edges: [[agent-0, agent-1], [agent-2, agent-3]]}\nseed: «-1\n",
        M("network.topology", "is not connected, so that its 2 parts can never agree: agent-0, agent-1 | agent-2, agent-3"),
        M("seed", "-1 is less than 0"),
    ),
    _case(
        "edges twice",
        START + PLACE + "network: {topology: {kind: edges, edges: [[agent-0, agent-1], [agent-1, agent-2], «[agent-1, agent-0], "
        "[agent-2, agent-3], «[agent-2, agent-3]]}}\n",
        M("network.topology.edges[2]", "agent-1, agent-0 is listed already, as edge 0 (edges have no direction unless directed: true)"),
        M("network.topology.edges[4]", "agent-2, agent-3 is listed already, as edge 3; remove one"),
    ),
    _case(
        "degrees that no graph has, and a key of another kind",
        START + PLACE + "agents: {count: 5}\nnetwork: {topology: {kind: random_regular, degree: «3, «probability: 0.5}}\n",
        M("network.topology.degree", "5 agents with 3 neighbours each would be 15/2 edges"),
        M("network.topology.probability", "unknown key; it is a key of erdos_renyi, small_world; the keys here are kind, seed, degree"),
    ),
    _case(
        "rows that do not divide",
        START + PLACE + "agents: {count: 8}\nnetwork: {topology: {kind: torus, rows: «3}}\n",
        M("network.topology.rows", "3 rows do not divide 8 agents; take 1, 2, 4 or 8"),
    ),
    _case(
        "a tournament on a ring",
        START + PLACE + "network: {topology: {kind: matchings, base: {kind: ring}, schedule: «round_robin}}\n",
        M("network.topology.schedule", "the base is a ring; write schedule: random"),
    ),
    _case(
        "a directed graph that leads nowhere",
        START
        + PLACE
        + "agents: {count: 3}\nnetwork: {topology: «{kind: edges, edges: [[agent-0, agent-1], [agent-0, agent-2]], directed: true}}\n",
        M("network.topology", "agent-1, agent-2 cannot send to agent-0, directly or through others; add edges back"),
    ),
    _case(
        "too few neighbours against Byzantine agents",
        START
        + PLACE
        + "agents: {count: 6}\nexchange: {consensus: {mode: «clip, num_byzantine: 1, groups: [critic], every: {updates: 50}}}\n",
        M("exchange.consensus.mode", '"clip" with num_byzantine: 1 needs degree >= 3, but agent-0 has degree 2 in this ring'),
    ),
    _case(
        "gossip that needs both directions",
        START + PLACE + "agents: {count: 8}\nnetwork: {topology: {kind: exponential}}\n"
        "exchange: {consensus: {mode: «mh, groups: [critic], every: {updates: 50}}}\n",
        M("exchange.consensus.mode", '"mh" needs an undirected graph; use pushsum'),
    ),
    _case(
        "a random graph that falls apart",
        START + PLACE + "agents: {count: 12}\nnetwork: {topology: {kind: erdos_renyi, probability: «0.02}}\n",
        M(
            "network.topology.probability",
            "none of 200 graphs that were drawn is connected: 0.02 is too small for 12 agents; take 0.31 or more",
        ),
    ),
    _case(
        "edges of a ring, and an edge with three ends",
        START + PLACE + "network: {topology: {kind: ring, «edges: [[agent-0, agent-1]]}}\nsupervision: {min_agents: «9}\n",
        M("network.topology.edges", "unknown key; it is a key of edges; the keys here are kind"),
        M("supervision.min_agents", "9 exceeds the number of agents (agents.count is 4)"),
    ),
    _case(
        "an edge with one end",
        START + PLACE + "network: {topology: {kind: edges, edges: [«[agent-0], [agent-0, agent-1]]}}\nmetrics: {every: «0s}\n",
        M("network.topology.edges[0][1]", "the list is too short"),
        M("metrics.every", '"0s" is not more than 0'),
    ),
    _case(
        "overrides of agents",
        START + PLACE + "agents:\n  overrides:\n    «agent-7: {history: 2}\n"
        "    agent-2: {learner: {«learning_rat: 1e-4, discount: «2}}\n    agent-1: {learner: {kind: «dqn}}\n",
        M("agents.overrides.agent-7", '"agent-7" does not exist (agents.count is 4)'),
        M("agents.overrides.agent-2.learner.learning_rat", "unknown key", "learning_rate"),
        M("agents.overrides.agent-2.learner.discount", "2 is more than 1"),
        M(
            "agents.overrides.agent-1.learner.kind",
            f'"dqn" is not one of {LEARNERS}',
            "double_dqn",
        ),
    ),
    _case(
        "groups that no component has",
        START + PLACE + "exchange:\n  consensus: {groups: [«policy, critic, «world_model, «critic]}\n",
        M("exchange.consensus.groups[0]", "the agents have no parameters called policy (but critic)"),
        M("exchange.consensus.groups[2]", "the agents have no parameters called world_model (but critic); set agents.world_model"),
        M("exchange.consensus.groups[3]", "critic is listed twice"),
    ),
    _case(
        "shapes that cannot be averaged",
        START + PLACE + "agents: {overrides: {agent-2: {learner: {hidden: [64]}}}}\nexchange: {consensus: {groups: [«critic]}}\n",
        M(
            "exchange.consensus.groups[0]",
            "critic of agent-2 (double_dqn, hidden [64], network auto, recurrent_layers none, dueling False, history 1) and agent-0",
        ),
    ),
    _case(
        "agents whose spaces differ",
        START
        + "environment: {id: mpe2:simple_speaker_listener_v4}\nagents: {count: 2, learner: {kind: double_dqn, discount: 0.9}}\n"
        + "exchange: {consensus: «{groups: [critic]}}\n",
        M(
            "exchange.consensus",
            "agent-0 (observation [3], choices [3]) and agent-1 (observation [11], choices [5]) differ in shape and cannot be averaged; "
            "write consensus: null, or make the spaces equal by wrappers",
        ),
    ),
    _case(
        "goals without a goal source",
        START + PLACE + "agents: {goals: «null}\nnetwork: {bind: «0.0.0.0}\n",
        M("agents.goals", "landmarks has 6 goals, and no goal source chooses among them; write goals: {kind: uniform}"),
        M("network.bind", "write network.advertise too"),
    ),
    _case(
        "layers of a former key",
        START + PLACE + "agents: {learner: {kind: impala, «lstm_layers: 1}}\n",
        M("agents.learner.lstm_layers", "is replaced by `recurrent`: write recurrent: {cell: lstm, layers: N} for N layers"),
    ),
    _case(
        "single transitions for a recurrent learner",
        START + PLACE + "agents: {learner: {kind: double_dqn, recurrent: {}}, world_model: {kind: ensemble, imagined_ratio: «0.5}}\n"
        "exchange: {hindsight: {share: «0.5}}\n",
        M("agents.world_model.imagined_ratio", "whole sequences of real transitions only; write 0, or recurrent: null"),
        M("exchange.hindsight.share", "write 0 (traces are still exchanged), or hindsight: null"),
    ),
    _case(
        "entities that are not there",
        START + "environment: {id: 'mpe2:simple_spread_v3', options: {N: 4}}\n"
        "agents:\n  goals: null\n  learner: {kind: ppo, discount: 0.9}\n  history: «2\n"
        "  entities: «[{name: own, size: 4}, {name: landmarks, count: 4, size: 2}]\n"
        "  overrides: {agent-1: {history: 1, entities: null, learner: {discount: 0.9, network: «entities}}}\n"
        "exchange: {hindsight: null, negotiation: null}\n",
        M("agents.history", "components that it adds belong to no entity (agents.entities); write 1"),
        M("agents.entities", "the parts have 12 components, and 24 are observed; correct size and count, or write null"),
        M(
            "agents.overrides.agent-1.learner.network",
            "agents.entities describes none; describe them (docs/explanation/networks.md#entities)",
        ),
    ),
    _case(
        "batches without a sequence",
        START
        + PLACE
        + "agents: {learner: {kind: double_dqn, batch_size: 8, n_step: «3, prioritized_replay: «{}, recurrent: {sequence: «9}}}\n"
        "exchange: {hindsight: null}\n",
        M("agents.learner.n_step", "recurrent networks learn from each step of a sequence; write 1"),
        M("agents.learner.prioritized_replay", "recurrent networks need sequences; write null"),
        M("agents.learner.recurrent.sequence", "a batch of 8 transitions (batch_size) has no sequence of 9 steps; write 8 or less"),
    ),
    _case(
        "transitions of others for a recurrent learner",
        START
        + "environment: {id: 'mpe2:simple_spread_v3', options: {N: 4}}\n"
        + "agents: {goals: null, learner: {kind: double_dqn, discount: 0.9, recurrent: {}}}\n"
        "exchange: {hindsight: null, negotiation: null, experience: «{}}\n",
        M("exchange.experience", "sequences of its own episodes only; write null, or agents.learner.recurrent: null"),
    ),
    _case(
        "a key that is replaced by one with another meaning",
        START + PLACE + "agents:\n  learner: {kind: double_dqn, «updates_per_tick: 1}\n"
        "  overrides: {agent-1: {learner: {updates_per_tick: «2}}}\n",
        M("agents.learner.updates_per_tick", "is replaced by `replay_ratio`, updates per environment step: divide by environment.copies"),
        M("agents.overrides.agent-1.learner.updates_per_tick", "is replaced by `replay_ratio`"),
    ),
    _case(
        "options of landmarks",
        START + "environment:\n  id: landmarks\n  options: {«landmark: 3, room: «10, scheme: «consistant}\n",
        M("environment.options.landmark", "unknown key", "landmarks"),
        M("environment.options.room", "10 is less than 100"),
        M("environment.options.scheme", '"consistant" is not one of consistent, original', "consistent"),
    ),
    _case(
        "an unknown environment",
        START + "environment: {id: «landmark}\nsupervision: «{heartbeat: 5s, suspect: 3s}\n",
        M("environment.id", "unknown environment"),
        M("supervision", "heartbeat < suspect < dead must hold"),
    ),
    _case(
        "rules of whole maps",
        "version: 2\nuntil: «{}\n"
        + PLACE
        + "exchange:\n  consensus: {every: «{updates: 5, steps: 3}, groups: [critic]}\n  hindsight: «{strategies: [joint, joint]}\n",
        M("until", "give at least one of episodes, steps, time"),
        M("exchange.consensus.every", "give exactly one of episodes, updates, steps, time"),
        M("exchange.hindsight", "a strategy is listed twice"),
    ),
    _case(
        "arguments",
        START + PLACE,
        M("agents.cuont", "unknown key", "count", argument=1),
        M("network.topology.kind", '"rign" is not one of complete, edges', "ring", argument=2),
        M("until.time", "20 has no unit", argument=3),
        M("metrics.sinks[7]", "index 7 is outside the list", argument=4),
        overrides=("agents.cuont=8", "network.topology.kind=rign", "until.time=20", "metrics.sinks.7=csv"),
    ),
    _case(
        "arguments that are none",
        START + PLACE + "seed: «1.5\n",
        M("seed", "1.5 is not a whole number"),
        M("", '"agents..count=3" is not an override', argument=1),
        M("agents.count", "has no value", argument=2),
        M("environment.options", "is not YAML", argument=3),
        M("agents.count", "+= adds to a list", argument=4),
        overrides=("agents..count=3", "agents.count=", "environment.options={a: ", "agents.count+=1"),
    ),
    _case(
        "mistakes in the file that is extended",
        "extends: base.yaml\nagents: {«cuont: 3}\n",
        M("agents.cuont", "unknown key", "count"),
        M("environment.copies", "0 is less than 1", file="base.yaml:3:38"),
        files={"base.yaml": START + "environment: {id: landmarks, copies: 0}\n"},
    ),
    _case(
        "extending nothing and oneself",
        "extends: «base.yaml\n" + START + PLACE,
        M("extends", "goes in a circle", file="base.yaml:1:10"),
        files={"base.yaml": "extends: broken.yaml\n"},
    ),
    _case("extending a file that is not there", START + PLACE + "extends: «other.yaml\n", M("extends", "there is no file")),
    _case(
        "pins and buffers",
        START + PLACE + "agents:\n  buffer: {transitions: 1000}\n  learner: {kind: double_dqn, learning_starts: «2000}\n"
        "launch: {placement: {pins: {«agnet-0: local}}}\n",
        M("agents.learner.learning_starts", "2000 transitions never fit into a buffer of 1000"),
        M("launch.placement.pins.agnet-0", "matches no node: they are env-0 and agent-0 ... agent-3", "agent-0"),
    ),
    _case(
        "a range with its ends exchanged",
        START + PLACE + "agents: {learner: {kind: double_dqn, value_range: «[1, 0]}}\n",
        M("agents.learner.value_range", "the lower end 1 is not below the upper end 0"),
    ),
    _case(
        "keys of version 1",
        "version: «1\nuntil: {time: 10s}\nenvironment: {id: landmarks, «stand_in: noop}\n"
        "agents:\n  learner: {kind: double_dqn, «warmup: 5}\n  world_model: {kind: ensemble, «imaginary: «{«cell: 0.5}}\n"
        "",
        M("version", "1 is an earlier format; run: orchestrate migrate broken.yaml --write"),
        M("environment.stand_in", "this key is now `late_action`; `orchestrate migrate`"),
        M("agents.learner.warmup", "this key is now `learning_starts`"),
        M("agents.world_model.imaginary", "this key is now `imagination`"),
        M("agents.world_model.imagination", "have no goals"),
        M("agents.world_model.imagination.cell", "this key is now `reward_cell_size`"),
    ),
    _case(
        "an old key of one agent, and an old argument",
        START + PLACE + "agents: {overrides: {agent-1: {learner: {«target_rate: 0.1}}}}\n",
        M("agents.overrides.agent-1.learner.target_rate", "this key is now `tau`"),
        M("supervision.first", "this key is now `restart_delay`", argument=1),
        overrides=("supervision.first=1s",),
    ),
    _case(
        "one key by both of its names",
        START + PLACE + "agents: {learner: {kind: double_dqn, discount: 0.9, «gamma: 0.8}}\n",
        M("agents.learner.gamma", "is another name of discount, which is given too"),
    ),
    _case(
        "actions that the learner does not support",
        START + "environment: {id: reward_collection}\nagents: {learner: {kind: «double_dqn}}\n",
        M("agents.learner.kind", "does not support the continuous actions of reward_collection; choose impala, ppo, sac or td3"),
    ),
    _case(
        "sights without bounds",
        START + "environment: {id: landmarks}\nagents:\n  frequencies: «3\n"
        "  world_model: «{kind: gp, imagined_ratio: 0, imagination: «{uniform_start_ratio: «0.5}}\n",
        M("agents.frequencies", "landmarks has no observed numbers with bounds; write 0"),
        M("agents.world_model.bounds", "does not give the bounds of all observed numbers; write their bounds"),
        M("agents.world_model.imagination", "have no goals"),
        M("agents.world_model.imagination.uniform_start_ratio", "does not give the bounds of all observed numbers; write 0"),
    ),
    _case(
        "unknown hosts",
        START + PLACE + "network: {transport: «ipc}\nlaunch:\n  engine: ssh\n  ssh:\n    hosts:\n"
        "      - {name: box-a, ssh: box-a, labels: {zone: west}}\n      - {name: «box-a, ssh: box-b}\n"
        "  placement: {pins: {env-0: «box-b, agent-0: «zone=wast}}\n",
        M("network.transport", "end at this machine"),
        M("launch.ssh.hosts[1].name", 'two hosts have the name "box-a"'),
        M("launch.placement.pins.env-0", "there is no host box-b", "box-a"),
        M("launch.placement.pins.agent-0", "no host has the label zone=wast", "zone=west"),
    ),
    _case(
        "ssh without hosts",
        START + PLACE + "launch: «{engine: ssh}\n",
        M("launch.ssh.hosts", "the engine ssh needs machines; list them"),
    ),
    _case(
        "an option of ssh in the place of a machine",
        START + PLACE + "launch: {engine: ssh, ssh: {hosts: [{name: box-a, ssh: «-oProxyCommand=true}]}}\n",
        M("launch.ssh.hosts[0].ssh", "is no destination for ssh"),
    ),
    _case(
        "a pin to a host that is not there",
        START + PLACE + "launch: {hosts: 2, placement: {pins: {agent-0: «local-2}}}\n",
        M("launch.placement.pins.agent-0", "there is no host local-2", "local-1"),
    ),
    _case(
        "goals, visits and networks of grids that are not observed",
        START + "environment: {id: landmarks}\nagents:\n  learner: {kind: impala, network: «grid}\n  teacher: «{kind: amigo}\n"
        "  curiosity: «{kind: bebold}\n",
        M("agents.learner.network", "landmarks shows no grid of cells; write auto"),
        M("agents.teacher", "sets goals in the whole grid, which landmarks does not show; write null"),
        M("agents.curiosity", "counts visits of a grid, and landmarks shows none"),
    ),
    _case(
        "a wrong key where a number may stand",
        START + PLACE + "evaluation: {every: «{step: 100}}\n",
        M("evaluation.every", '{"step": 100} has the unknown key step and lacks the key steps; write {steps: ...}, or a single value'),
    ),
    _case(
        "images that are not observed",
        START + "environment: {id: 'mpe2:simple_spread_v3'}\nagents: {count: 3, learner: {kind: ppo, discount: 0.9, network: «cnn}}\n",
        M("agents.learner.network", "mpe2:simple_spread_v3 shows no images; write auto"),
    ),
    _case(
        "images that are too small, and their history",
        START
        + "environment: {id: 'gymnasium:minigrid:MiniGrid-Empty-5x5-v0', wrappers: ['minigrid.wrappers:ImgObsWrapper']}\n"
        + "agents: {count: 1, learner: {kind: double_dqn, network: «cnn}, history: «2}\n",
        M(
            "agents.learner.network",
            "cnn needs images of at least 36 x 36 pixels, and gymnasium:minigrid:MiniGrid-Empty-5x5-v0 shows 7 x 7",
        ),
        M("agents.history", "differences between images are not computed; write 1, and environment.images.frame_stack: 2"),
    ),
    _case(
        "images of a vectorised environment",
        START + "environment: {id: landmarks, images: «{grayscale: true}}\nagents: {count: 4}\n",
        M("environment.images", "steps all copies together, and prepares its images itself, if it has any; leave images out"),
    ),
    _case(
        "a part of the grid is not the whole",
        START + "environment: {id: 'minigrid:MiniGrid-Empty-5x5-v0', options: {view: partial}}\n"
        "agents: {goals: null, learner: {kind: impala}, teacher: «{kind: amigo}}\nexchange: {negotiation: null, hindsight: null}\n",
        M("agents.teacher", "write null, or environment.options.view: full (or both)"),
    ),
    _case(
        "teachers that are to negotiate, without teachers",
        START + "environment: {id: 'minigrid:MiniGrid-Empty-5x5-v0', options: {players: all}}\n"
        "agents: {goals: null, learner: {kind: «double_dqn}}\nexchange: {negotiation: «{kind: contract_net}, hindsight: null}\n",
        M("agents.learner.kind", "which double_dqn does not estimate; choose impala or ppo"),
        M("exchange.negotiation", "exchanges goals that teachers propose, and agent-0 has no teacher that allows it"),
    ),
    _case(
        "a teacher that ends episodes which others play too",
        START + "environment: {id: 'minigrid:MiniGrid-Empty-5x5-v0', options: {players: all}}\n"
        "agents: {goals: null, learner: {kind: impala}, teacher: {kind: amigo, restart_episode: «true}}\n"
        "exchange: {negotiation: null, hindsight: null}\n",
        M("agents.teacher.restart_episode", "write false, or environment.options.players: one"),
    ),
    _case(
        "teachers that are to negotiate, each in a world of its own",
        START + "environment: {id: 'minigrid:MiniGrid-Empty-5x5-v0'}\n"
        "agents: {goals: null, learner: {kind: impala, recurrent: «{}}, teacher: {kind: amigo}}\n"
        "exchange: {negotiation: «{kind: contract_net}, hindsight: null}\n",
        M("agents.learner.recurrent", "must not depend on a recurrent state; write null"),
        M("exchange.negotiation", "write environment.options.players: all, or null"),
    ),
    _case(
        "rewards for learners that take none",
        START + PLACE + "agents: {learner: {kind: double_dqn}, curiosity: «{kind: rnd}, shaping: «{}}\n",
        M("agents.curiosity", "which learner double_dqn does not use; write null, or choose impala or ppo"),
        M("agents.shaping", "changes the rewards of rollouts"),
    ),
    _case(
        "a replay reward that needs the steps of all members",
        START + PLACE + "agents: {learner: {kind: double_dqn}, replay_reward: «{kind: mutual_information}}\n",
        M("agents.replay_reward", "mutual_information needs a learner with replay and joint, which double_dqn is not; write null"),
    ),
    _case(
        "imitation by a learner without it, and beside a teacher",
        START + "environment: {id: 'minigrid:MiniGrid-Empty-5x5-v0'}\n"
        "agents: {goals: null, learner: {kind: impala}, imitation: «{kind: ranked}, overrides: {agent-0: {learner: {kind: ppo}, "
        "teacher: {kind: amigo}, imitation: «{kind: ranked}}}}\n"
        "exchange: {hindsight: null, negotiation: null}\n",
        M("agents.imitation", "ranked trains the policy of a learner with imitation, which impala is not; write null, or choose ppo"),
        M("agents.overrides.agent-0.imitation", "and agents.teacher sets goals; write null for one of them"),
    ),
    _case(
        "a difficulty rule that does not exist",
        START + PLACE + "agents: {teacher: {kind: amigo, difficulty: {kind: «windov}}}\n",
        M("agents.teacher.difficulty.kind", '"windov" is not one of threshold, window', "window"),
    ),
    _case(
        "gaussian processes",
        START + PLACE + "agents:\n  world_model: {kind: gp, imagined_ratio: 0, bounds: [«[1, -1]]}\n",
        M("agents.world_model.bounds[0]", "the lower end 1 is not below the upper end -1"),
    ),
    _case(
        "keys and values that were removed",
        START + PLACE + "agents: {world_model: {kind: gp, imagined_ratio: 0, bounds: [[-1, 1]], «basis: fourier, «basis_seed: 3}}\n"
        "exchange: {hindsight: {strategies: [future, «near_miss], «weighting: rare, «partner: corrected, «segments: {share: 0.1}}}\n",
        M("agents.world_model.basis", "this key was removed: the basis is always the former hsgp; leave it out"),
        M("agents.world_model.basis_seed", "this key was removed: nothing of the basis is drawn; leave it out"),
        M("exchange.hindsight.strategies[1]", '"near_miss" was removed: it offers only failures; leave it out'),
        M("exchange.hindsight.weighting", "this key was removed: goals are drawn uniformly"),
        M("exchange.hindsight.partner", "this key was removed: the actions of partners are not corrected for; leave it out"),
        M("exchange.hindsight.segments", "this key was removed: agents with goals exchange traces only"),
    ),
    _case(
        "faults: names, ids and groups",
        START
        + PLACE
        + "network:\n  links:\n    - {id: wan, to: «agent-9, delay: 5ms}\n    - {id: «wan, during: «{stop: {step: 5}}, loss: 0.1}\n"
        + "faults:\n  events:\n"
        + "    - {id: kill, at: {time: 1s}, process: {target: «agnt-1, action: kill}}\n"
        + "    - {id: «wan, at: {time: 1s}, partition: {groups: «[[agent-0, agent-1], 'agent-[1-3]']}}\n"
        + "    - {id: «random-1, at: {time: 1s}, link: «{to: agent-1}}\n"
        + "    - {id: chat, at: {time: 1s}, link: {loss: 0.5, types: [«averag]}}\n",
        M("network.links[0].to", '"agent-9" matches no node: they are agent-0 ... agent-3, env-0, run'),
        M("network.links[1].id", "is the id of another rule or event too"),
        M("network.links[1].during", "belongs into faults.links"),
        M("faults.events[0].process.target", '"agnt-1" matches no node', "agent-1"),
        M("faults.events[1].id", "is the id of another rule or event too"),
        M("faults.events[1].partition.groups", "agent-1 would be on two sides at once"),
        M("faults.events[2].id", "could be the id of a drawn fault"),
        M("faults.events[2].link", "does nothing; give it delay, loss"),
        M("faults.events[3].link.types[0]", '"averag" is no type of message', "average"),
    ),
    _case(
        "faults: what the run server sends",
        START
        + PLACE
        + "network:\n  links:\n    - {id: a, from: «run, to: 'agent-*', channels: [ctl], delay: 5ms}\n"
        + "    - {id: b, from: run, to: 'agent-*', symmetric: true, channels: [ctl], delay: 5ms}\n"
        + "    - {id: c, from: '*', to: '*', channels: [ctl], delay: 5ms}\n"
        + "    - {id: d, from: 'agent-*', to: run, channels: [tele], loss: 0.1}\n"
        + "faults:\n  links:\n    - {id: e, from: «[run, env-0], to: env-0, channels: [ctl], loss: 0.1}\n  events:\n"
        + "    - {id: f, at: {time: 1s}, link: {from: «run, channels: [ctl], loss: 0.1}}\n"
        + "    - {id: g, at: {time: 1s}, partition: {groups: [run, 'agent-*'], direction: «from_first, channels: [ctl]}}\n"
        + "    - {id: h, at: {time: 1s}, partition: {groups: ['agent-*', run], direction: «to_first, channels: [ctl]}}\n"
        + "    - {id: i, at: {time: 1s}, partition: {groups: ['agent-*', run, env-0], direction: to_first, channels: [ctl]}}\n"
        + "    - {id: j, at: {time: 1s}, partition: {groups: ['agent-*', run], direction: from_first, channels: [ctl]}}\n"
        + "    - {id: k, at: {time: 1s}, partition: {groups: ['agent-*', run], channels: [ctl]}}\n",
        M("network.links[0].from", "what run itself sends always gets through"),
        M("faults.links[0].from", "write symmetric: true"),
        M("faults.events[0].link.from", "name in from who sends to it"),
        M("faults.events[1].partition.direction", "write both, or the other direction"),
        M("faults.events[2].partition.direction", "what run itself sends always gets through"),
    ),
    _case(
        "faults: when",
        "version: 2\nuntil: {episodes: 100}\nexchange: {consensus: null}\n"
        + PLACE
        + "faults:\n  links:\n    - {id: a, loss: 0.1, during: {start: {step: 9}, stop: «{step: 9}}}\n"
        + "  events:\n"
        + "    - {id: late, at: «{episode: 100}, partition: {shape: halves}}\n"
        + "    - {id: healed, at: «{episode: 90}, partition: {shape: halves}}\n"
        + "    - {id: round, at: «{round: 3}, partition: {shape: halves}}\n"
        + "    - {id: ring, at: {step: 1}, for: «{steps: 3}, process: {target: agent-1, action: kill}}\n"
        + "    - {id: stay, at: {step: 1}, process: {target: agent-1, action: pause, restart_after: «3s}}\n",
        M("faults.links[0].during.stop", "the rule ends at 9, before it begins at 9"),
        M("faults.events[0].at", "episode 100 is never reached: training ends at 100"),
        M("faults.events[1].at", "all is healed already: faults end at 90"),
        M("faults.events[2].at", "exchange.consensus is null"),
        M("faults.events[3].for", "write restart_after"),
        M("faults.events[4].process.restart_after", "pause ends no process"),
    ),
    _case(
        "faults: what is never healed cannot recover",
        START
        + PLACE
        + "faults:\n  heal_before_end: 0%\n  expect: [{metric: recovery_time.max, op: '<', value: 20s}]\n"
        + "  events:\n    - «{id: split, at: {time: 1s}, partition: {shape: isolate_one}}\n"
        + "    - {id: short, at: {time: 1s}, for: 2s, partition: {shape: isolate_one}}\n"
        + "    - «{id: long, at: {time: 3s}, for: 7s, partition: {shape: isolate_one}}\n"
        + "    - {id: none, at: {time: 1s}, for: «0s, partition: {shape: isolate_one}}\n"
        + "  links:\n    - «{id: bad, loss: 0.5}\n    - {id: brief, loss: 0.5, during: {stop: {time: 5s}}}\n",
        M("faults.events[0]", "never ends, and faults.expect asks for a recovery"),
        M("faults.events[2]", "never ends, and faults.expect asks for a recovery"),
        M("faults.events[3].for", "lasts no time"),
        M("faults.links[0]", "write during: {stop: ...}"),
    ),
    _case(
        "faults: models of links",
        START
        + PLACE
        + "network:\n  links:\n"
        + "    - {id: a, delay: {dist: normal, mean: 5ms, jitter: 1ms, min: «9ms, max: 3ms}}\n"
        + "    - {id: b, delay: «{dist: lognormal, mean: 5ms}, loss: «{model: gilbert_elliott, p_gb: 0.1}}\n"
        + "    - {id: c, delay: {dist: exponential, mean: 5ms, jitter: «1ms}}\n"
        + "    - {id: d, delay: {dist: empirical, file: «none.txt}}\n"
        + "faults: {random: {weights: «{partition: 0, kill: 0, pause: 0, slow: 0, link: 0}, every: «0s}}\n",
        M("network.links[0].delay.min", "is above the greatest, 0.003 s (max)"),
        M("network.links[1].delay", "lognormal needs mean and jitter; jitter is missing"),
        M("network.links[1].loss", "gilbert_elliott needs p_gb and p_bg; p_bg is missing"),
        M("network.links[2].delay.jitter", "means nothing for exponential"),
        M("network.links[3].delay.file", "cannot be read"),
        M("faults.random.weights", "nothing is ever drawn"),
        M("faults.random.every", "must be above 0s"),
    ),
    _case(
        "faults: values that are none",
        START
        + PLACE
        + "network: {links: [{id: a, loss: «1.5, bandwidth: {rate: «10}, delay: «5}]}\n"
        + "faults:\n  heal_before_end: «ten%\n  events:\n"
        + "    - {id: two, at: «{step: 1, episode: 1}, partition: {shape: halves}}\n"
        + "    - «{id: none, at: {step: 1}}\n"
        + "    - {id: long, at: {step: 1}, for: «5, partition: {shape: «half}}\n",
        M("network.links[0].loss", "1.5 is more than 1"),
        M("network.links[0].bandwidth.rate", "10 has no unit; write 10kbit or 10mbit"),
        M("network.links[0].delay", "5 has no unit; write 5ms or 5s"),
        M("faults.heal_before_end", '"ten%" is no share; write for example 10% or 0.1'),
        M("faults.events[0].at", "give exactly one of time, step, episode, round, random (given: step, episode)"),
        M(
            "faults.events[1]",
            "give exactly one of partition, process, straggler, clock, byzantine, storage, membership, link",
        ),
        M("faults.events[2].for", "5 has no unit; write 5ms or 5s"),
        M("faults.events[2].partition.shape", '"half" is not one of isolate_one, halves', "halves"),
    ),
    _case(
        "faults: replay and backends",
        START + PLACE + "faults: {backend: «netem, mode: «replay}\n",
        M("faults.backend", "netem is not in this version"),
        M("faults.mode", "write trace: runs/NAME"),
    ),
    _case(
        "faults: a trace that is none",
        START + PLACE + "faults: {mode: replay, trace: «runs/none}\n",
        M("faults.trace", "runs/none holds no trace of agent-0"),
    ),
    _case(
        "faults: a trace without replay",
        START + PLACE + "faults: {trace: «full}\n",
        M("faults.trace", "write record: full"),
    ),
]
