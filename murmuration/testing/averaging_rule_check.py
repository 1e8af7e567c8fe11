"""Contract of averaging rules."""

from __future__ import annotations

from functools import partial

import numpy as np

from murmuration.testing.contract import ComponentContract
from protocols.averaging.averager import Averager, FixedNeighbourhood
from protocols.averaging.averaging_rules import AveragingContext, create_averager
from protocols.averaging.rule_settings import AveragingRuleSettings, RobustRuleSettings, VectorRuleSettings
from protocols.conversations.conversation import Send
from protocols.runtime.errors import ConfigurationError
from protocols.wire.codec import decode, encode
from protocols.wire.message_registry import accepted

SIZE = 12
DEADLINE = 2.0
ROUNDS = 30
LAYOUT = "check"


def check_averaging_rule(settings: AveragingRuleSettings) -> None:
    """Check the averaging rule that is registered for these settings.

    Rules for a function on vectors: the update has the shape of the vector, is finite and leaves the arguments unchanged; equal vectors
    give the update 0; the order of the neighbours does not matter. Rules for all: agents in a complete graph exchange vectors by registered
    messages and come closer to each other in 30 rounds; a round closes at its deadline where neighbours are silent, and at once where they
    are dead; `state` and `load_state` continue after the newest round; a wrong length and an old round are refused. Raises
    `ContractError`.
    """
    check = _RuleCheck(settings)
    if isinstance(settings, VectorRuleSettings):
        _check_function(check, settings)
    check.agreement()
    check.deadline()
    check.state()
    check.refusals()


def _check_function(contract: ComponentContract, settings: VectorRuleSettings) -> None:
    rule, count = contract.entry.load(), settings.min_neighbours + 1
    random = np.random.default_rng(0)
    own, rows = random.standard_normal(SIZE), random.standard_normal((count, SIZE))
    weights = random.uniform(0.1, 1, count)
    weights /= weights.sum() * 1.2
    with contract.unchanged("the rule changes its arguments", own, rows, weights):
        with contract.calling("rule(own, neighbours, weights, settings)"):
            update = np.asarray(rule(own, rows, weights, settings))
        contract.array(update, "the update", (SIZE,), "f")
    order = random.permutation(count)
    shuffled = np.asarray(rule(own, rows[order], weights[order], settings))
    contract.require(np.allclose(update, shuffled), "the update depends on the order of the neighbours", "treat all neighbours alike")
    with contract.calling("the rule for equal vectors"):
        equal = np.asarray(rule(own, np.repeat(own[None], count, axis=0), weights, settings))
    contract.require(np.allclose(equal, 0, atol=1e-9), "equal vectors give an update other than 0", "return an update, not the new vector")


class _RuleCheck(ComponentContract):
    settings: AveragingRuleSettings

    def __init__(self, settings: AveragingRuleSettings) -> None:
        super().__init__("averaging rule", "averaging_rule", settings, AveragingRuleSettings)
        count = max(3, settings.min_neighbours + 1)
        if isinstance(settings, RobustRuleSettings):
            count += 1
        self.names = [f"agent-{i}" for i in range(count)]
        self.x = np.random.default_rng(0).uniform(1, 2, (count, SIZE))

    def machine(self, name: str) -> Averager:
        mixing = FixedNeighbourhood({other: 1 / len(self.names) for other in self.names if other != name})
        with self.calling("creating the machine"):
            try:
                machine = create_averager(self.settings, AveragingContext(mixing, LAYOUT, SIZE, DEADLINE))
            except ConfigurationError as error:
                self.refused(error)
        return machine

    def joined(self) -> dict[str, Averager]:
        machines = {name: self.machine(name) for name in self.names}
        for name, machine in machines.items():
            for other in machines.keys() - {name}:
                machine.peer_alive(other, 1, 0.0)
        return machines

    def deliver(self, machines: dict[str, Averager], now: float) -> None:
        """All messages, through the codec, until none is sent."""
        known = accepted("agent", "peer")
        for _ in range(1000):
            sends = [(name, send) for name, machine in machines.items() for send in machine.outgoing()]
            if not sends:
                return
            for src, send in sends:
                fits = type(send.message) in known
                text = f"it sends {type(send.message).__name__}, which has no route from agent to agent"
                self.require(fits, text, "register the message by register_conversation")
                fits = isinstance(send.message, machines[src].message_types)
                text = f"it sends {type(send.message).__name__}, which is not in its message_types"
                self.require(fits, text, "list the message in message_types")
                self.arrive(machines, src, send, now)
        self.broken("a round causes messages without end", "answer each message at most once")

    def arrive(self, machines: dict[str, Averager], src: str, send: Send, now: float) -> None:
        with self.calling("receive(...)", "raise BadMessage for a message that breaks a rule"):
            message, arrays = decode([bytes(part) for part in encode(send.message, send.arrays)])
            machines[send.dst].receive(src, message, arrays, now)

    def agreement(self) -> None:
        machines, x = self.joined(), self.x.copy()
        spread = float(np.ptp(x, axis=0).max())
        for number in range(ROUNDS):
            now = float(number * 10)
            for row, machine in enumerate(machines.values()):
                with self.calling(f"begin({number}, vector)"):
                    machine.begin(max(number, machine.next_round), x[row].astype(np.float32), now)
            self.deliver(machines, now)
            for machine in machines.values():
                machine.tick(now + DEADLINE + 1)
            self.deliver(machines, now + DEADLINE + 1)
            for row, machine in enumerate(machines.values()):
                for event in machine.events():
                    self.array(event.delta, "delta of a round", (SIZE,), "f")
                    x[row] += event.delta
                self.require(not machine.open, f"round {number} is open after its deadline", "close it in `tick`")
        after = float(np.ptp(x, axis=0).max())
        text = f"agents in a complete graph differ by {after:.3g} after {ROUNDS} rounds and by {spread:.3g} before"
        self.require(np.isfinite(x).all() and after < 0.9 * spread, text, "move each vector toward those of the neighbours")

    def deadline(self) -> None:
        machine = self.joined()[self.names[0]]
        with self.calling("begin, tick with silent neighbours"):
            machine.begin(0, self.x[0].astype(np.float32), 0.0)
            if machine.open:
                self.require(machine.wake() <= DEADLINE + 1e-6, "wake() is later than the deadline", "return the time of the deadline")
                machine.tick(DEADLINE + 0.001)
        self.require(not machine.open, "a round with silent neighbours stays open", "close it in `tick` at the deadline")
        machine = self.joined()[self.names[0]]
        with self.calling("peer_dead"):
            machine.begin(0, self.x[0].astype(np.float32), 0.0)
            for other in self.names[1:]:
                machine.peer_dead(other, 0.1)
        self.require(not machine.open, "a round waits for dead neighbours", "close it in `peer_dead`")

    def state(self) -> None:
        machine = self.joined()[self.names[0]]
        machine.begin(3, self.x[0].astype(np.float32), 0.0)
        machine.close(1.0)
        with self.calling("load_state(state())"):
            state = {name: np.array(array) for name, array in machine.state().items()}
            fresh = self.machine(self.names[0])
            fresh.load_state(state)
        self.require(fresh.round == 3, f"a restored machine has round {fresh.round} instead of 3", "put the round into state()")

    def refusals(self) -> None:
        for what, number, vector in (
            ("a vector of another length", 1, np.zeros(SIZE + 1, np.float32)),
            ("a vector with NaN", 1, np.full(SIZE, np.nan, np.float32)),
            ("a round that is not above the newest", 0, np.zeros(SIZE, np.float32)),
        ):
            machine = self.joined()[self.names[0]]
            machine.begin(0, self.x[0].astype(np.float32), 0.0)
            machine.close(0.5)
            self.refuses(f"begin accepts {what}", "raise ValueError", partial(machine.begin, number, vector, 1.0))
