"""The offers and messages of push-sum to the neighbours in a round."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import numpy as np

from protocols.averaging.averaging_messages import Share
from protocols.averaging.push_sum.push_sum_edges import SILENT, OutgoingMass, PushSumEdge
from protocols.averaging.vector_arithmetic import Accumulator, EdgeTransfer, Vector
from protocols.conversations.conversation import Array, Send

AGAIN = 4
"""rounds until an unacknowledged offer is repeated over an edge that the graph does not use meanwhile"""


def give(
    vectors: Accumulator,
    vector: Array,
    mass: float,
    edges: Collection[PushSumEdge],
    dtype: np.dtype[np.floating],
    round: int,
    learnt: Vector | None,
) -> float:
    """y += w (x - z), z = x, and then (y, w) / k over each of these edges, k - 1 of them, as numbers of `dtype`. x: `vector`, `[d]`; w:
    `mass`. Returns what is left of it. `round`, `learnt`: as in `Offer`."""
    part = 1.0 / (len(edges) + 1)
    share = mass * part
    # Edges whose sums are the same array: nearly always all of them.
    sums: dict[int, tuple[Array | None, list[OutgoingMass]]] = {}
    for edge in edges:
        sums.setdefault(id(edge.outgoing.total), (edge.outgoing.total, []))[1].append(edge.outgoing)
    gifts: list[EdgeTransfer] = [(total, np.empty(vector.size, dtype), len(same)) for total, same in sums.values()]
    vectors.give(vector, mass, part, gifts)
    for (_, new, _), (_, same) in zip(gifts, sums.values(), strict=True):
        for outgoing in same:
            weight = outgoing.weight + share
            mass -= weight - outgoing.weight
            outgoing.give(new, weight, round, learnt)
    return mass


def shares(edges: Mapping[str, PushSumEdge], receivers: Collection[str], round: int, layout: str) -> Iterator[Send]:
    """To all receivers, and to others whom it is due to: what was given, and what was taken."""
    frames: dict[str, Array] = {}
    for name, edge in edges.items():
        outgoing, receives = edge.outgoing, name in receivers
        again = edge.silent < SILENT and (receives or round - outgoing.said >= AGAIN)
        offers = outgoing.pending and (again or outgoing.said < 0)
        if not (offers or receives or edge.ack_due):
            continue
        share = Share(
            round=round,
            layout=layout,
            to=edge.incarnation,
            number=outgoing.number,
            base=outgoing.base,
            weight=outgoing.weight,
            ack=edge.incoming.number,
        )
        edge.ack_due = False
        total = outgoing.total
        if offers and total is not None:
            outgoing.said = round
            if frames.get("offer") is not total:
                frames = {"offer": total}
            yield Send(name, share, frames)
        else:
            yield Send(name, share)
