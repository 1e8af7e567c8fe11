"""Settings of the communication graph: every kind by its name, with keys of its own; and what makes them unfit for a number of agents. Free
of numpy: a configuration is read and checked without it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from protocols.runtime.component_registry import Registered, component, register
from protocols.runtime.settings_types import NodeName, Probability, Settings


@dataclass(frozen=True)
class TopologyProblem:
    """Why settings make no graph: the key inside `network.topology`, the rule broken and its cure."""

    path: tuple[str | int, ...]
    text: str
    misspelt: str | None = None
    """the unknown name, where that is the fault"""


class UnfitTopology(ValueError):
    """Settings that make no graph of these agents; `faults`: the reasons."""

    def __init__(self, *faults: TopologyProblem) -> None:
        super().__init__("; ".join(f"{_shown(fault.path)}{fault.text}" for fault in faults))
        self.faults = faults


def unfit(text: str, *path: str | int) -> UnfitTopology:
    """An `UnfitTopology` error with one problem: its text, and the path of the key in the settings. The caller raises it."""
    return UnfitTopology(TopologyProblem(path, text))


def _shown(path: tuple[str | int, ...]) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return f"{text.removeprefix('.')}: " if text else ""


ROOM = "topology"
"""room of the registry in which all kinds of graphs are"""
STATIC = "static topology"
"""room of those that are the same in every round"""


class TopologySettings(Settings):
    """The communication graph of the agents: what all kinds have in common.

    `TopologySettings(kind="ring")` stands for that kind with its default keys.
    """

    kind: str = "ring"


class RingSettings(TopologySettings):
    """A cycle: every agent has two neighbours."""

    kind: Literal["ring"] = "ring"


class CompleteSettings(TopologySettings):
    """Every agent is a neighbour of every other."""

    kind: Literal["complete"] = "complete"


class StarSettings(TopologySettings):
    """agent-0 in the middle, all others joined to it alone."""

    kind: Literal["star"] = "star"


class PathSettings(TopologySettings):
    """One after the other, with two ends."""

    kind: Literal["path"] = "path"


class GridSettings(TopologySettings):
    """Rows and columns."""

    kind: Literal["grid"] = "grid"
    rows: Annotated[int, Field(ge=1)] | None = None
    """rows, a divisor of the number of agents; null: as square as the number allows (a prime number gives a path)"""


class TorusSettings(TopologySettings):
    """A grid whose rows and columns are closed to rings."""

    kind: Literal["torus"] = "torus"
    rows: Annotated[int, Field(ge=1)] | None = None
    """rows, a divisor of the number of agents; null: as square as the number allows (a prime number gives a ring)"""


class TreeSettings(TopologySettings):
    """A balanced tree with agent-0 at its root."""

    kind: Literal["tree"] = "tree"
    branching: Annotated[int, Field(ge=1)] = 2
    """children of every agent; the last ones may have fewer"""


class RandomTopologySettings(TopologySettings):
    """What random graphs have in common: they are drawn once, equal on every node, and drawn again until they are connected."""

    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] | None = None
    """which graph is drawn; null: the run's seed decides, so that another seed plays on another graph"""


class ErdosRenyiSettings(RandomTopologySettings):
    """Every pair is joined with the same probability, independently."""

    kind: Literal["erdos_renyi"] = "erdos_renyi"
    probability: Probability = 0.3
    """of each pair; below ln(n)/n a graph of n agents is rarely connected"""


class SmallWorldSettings(RandomTopologySettings):
    """A ring lattice with `degree` neighbours each, in which some edges are rewired at random (Watts and Strogatz 1998)."""

    kind: Literal["small_world"] = "small_world"
    degree: Annotated[int, Field(ge=2)] = 4
    """neighbours of each agent before edges are rewired; even, and less than the number of agents"""
    probability: Probability = 0.1
    """with which the far end of an edge is turned to a random agent"""


class RandomRegularSettings(RandomTopologySettings):
    """A random graph in which all agents have the same number of neighbours."""

    kind: Literal["random_regular"] = "random_regular"
    degree: Annotated[int, Field(ge=1)] = 4
    """neighbours of each agent; degree x agents is even, and degree less than the number of agents"""


class ExponentialSettings(TopologySettings):
    """Directed: agent i sends to i + 1, i + 2, i + 4, ... (modulo the number of agents)."""

    kind: Literal["exponential"] = "exponential"


class OnePeerExponentialSettings(TopologySettings):
    """Directed, and another one every round: agent i sends to i + 2^(t mod ceil(log2 n)) alone."""

    kind: Literal["one_peer_exponential"] = "one_peer_exponential"


class EdgesSettings(TopologySettings):
    """A list of one's own."""

    kind: Literal["edges"] = "edges"
    edges: list[tuple[NodeName, NodeName]] = []
    """pairs of agents"""
    directed: bool = False
    """whether [a, b] lets only a send to b"""


def _static(kind: str, settings: type[TopologySettings], implementation: str) -> None:
    for room in (ROOM, STATIC):
        register(room, kind, settings, f"protocols.topology.{implementation}")


_static("ring", RingSettings, "fixed_graphs:ring")
_static("complete", CompleteSettings, "fixed_graphs:complete")
_static("star", StarSettings, "fixed_graphs:star")
_static("path", PathSettings, "fixed_graphs:path")
_static("grid", GridSettings, "fixed_graphs:grid")
_static("torus", TorusSettings, "fixed_graphs:grid")
_static("tree", TreeSettings, "fixed_graphs:tree")
_static("erdos_renyi", ErdosRenyiSettings, "random_graphs:erdos_renyi")
_static("small_world", SmallWorldSettings, "random_graphs:small_world")
_static("random_regular", RandomRegularSettings, "random_graphs:random_regular")
_static("exponential", ExponentialSettings, "fixed_graphs:exponential")
_static("edges", EdgesSettings, "fixed_graphs:own_edges")


class MatchingsSettings(RandomTopologySettings):
    """In every round disjoint pairs; an agent without a partner pauses."""

    # Its base may be of any registered kind, third parties' too: these are looked up at the first use, not while this module is loaded.
    model_config = ConfigDict(defer_build=True)

    kind: Literal["matchings"] = "matchings"
    base: Annotated[TopologySettings, Registered(STATIC)] = CompleteSettings()
    """the undirected graph that the pairs are taken from"""
    schedule: Literal["round_robin", "random"] = "round_robin"
    """round_robin (base: complete): every pair meets once in a period, as in a tournament, in an order drawn by `seed`; random:
    every round draws a maximal set of pairs, by `seed` and the number of the round"""


register(ROOM, "one_peer_exponential", OnePeerExponentialSettings, "protocols.topology.fixed_graphs:one_peer_exponential")
register(ROOM, "matchings", MatchingsSettings, "protocols.topology.random_graphs:matchings")


def topology_settings(data: Mapping[str, Any] | TopologySettings) -> TopologySettings:
    """The settings of their kind, from a plain map as `network.topology` is one, or from settings of which only the kind is given.

    `ValueError` for an unknown kind or key.
    """
    if isinstance(data, TopologySettings):
        if type(data) is not TopologySettings:
            return data
        data = data.model_dump()
    kind = data.get("kind", "ring")
    try:
        found = component(ROOM, kind)
    except KeyError:
        raise ValueError(f'"{kind}" is no kind of graph') from None
    settings = found.settings.model_validate(data)
    if not isinstance(settings, TopologySettings):
        raise ValueError(f"{kind}: {found.settings.__name__} is not derived from TopologySettings")
    return settings
