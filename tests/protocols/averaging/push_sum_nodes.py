"""Push-sum by hand, one agent and its messages; and networks of such agents that have begun."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from protocols.averaging.averager import FixedNeighbourhood
from protocols.averaging.averaging_messages import Share
from protocols.averaging.push_sum import PushSum
from protocols.conversations.conversation import Send
from tests.protocols.averaging.averaging_network import LAYOUT, AveragingNetwork


def node(neighbours: str = "b", size: int = 2, **options: Any) -> PushSum:
    return PushSum(FixedNeighbourhood(dict.fromkeys(neighbours, 0.1)), LAYOUT, size, **options)


def offer(*values: float) -> dict[str, np.ndarray]:
    return {"offer": np.array(values, np.float64)}


def share(number: int, weight: float, *, round: int = 0, **fields: Any) -> Share:
    return Share(round=round, layout=LAYOUT, number=number, weight=weight, **fields)


def tell(a: PushSum, src: str, message: Share, arrays: Mapping[str, np.ndarray] | None = None, now: float = 0.0) -> None:
    a.receive(src, message, arrays or {}, now)


def only(sends: list[Send]) -> tuple[Share, Any]:
    (send,) = sends
    assert isinstance(send.message, Share)
    return send.message, send.arrays.get("offer")


# --- the invariant ----------------------------------------------------------------------------------------------------------------


def start(places: Mapping[str, Any], size: int, seed: int, **options: Any) -> tuple[AveragingNetwork, np.ndarray, float]:
    """A network that has begun: with the mean and the spread of what its agents began with."""
    random = np.random.default_rng(seed)
    x = {name: random.normal(size=size) for name in places}
    machine = {key: options.pop(key) for key in ("window", "offers") if key in options}

    def make(name: str, incarnation: int, rejoin: bool) -> PushSum:
        return PushSum(places[name], LAYOUT, size, incarnation=incarnation, rejoin=rejoin, **machine)

    network = AveragingNetwork(x, make, seed, **options)
    vectors = np.array(list(x.values()))
    return network, vectors.mean(axis=0), float(np.ptp(vectors, axis=0).max())


def begun(network: AveragingNetwork) -> None:
    """Run until all have begun: a machine has its sum from then on."""
    while any(machine.round < 0 for machine in network.machines.values()):
        network.run(until=network.now + 0.001)


def error(network: AveragingNetwork, mean: np.ndarray) -> float:
    return max(float(np.abs(network.x[name] - mean).max()) for name in network.machines)
