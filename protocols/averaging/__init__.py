"""Averaging of models with the neighbours in the graph. Consensus knows vectors and weights, never networks."""

from protocols.averaging.averager import Averager, FixedNeighbourhood, Neighbourhood, RoundClosed
from protocols.averaging.averaging_modes import create_averager
from protocols.averaging.choco import ChocoAveraging
from protocols.averaging.compressors import Quantise, TopK
from protocols.averaging.projection_sketch import Projection, disagreement
from protocols.averaging.push_sum.push_sum import PushSum
from protocols.averaging.robust_averaging import RobustAveraging
from protocols.averaging.round_deadline import RoundDeadline
from protocols.averaging.synchronous_gossip import SynchronousAveraging
from protocols.averaging.vector_layout import VectorLayout

__all__ = [
    "Averager",
    "ChocoAveraging",
    "FixedNeighbourhood",
    "Neighbourhood",
    "Projection",
    "PushSum",
    "Quantise",
    "RobustAveraging",
    "RoundClosed",
    "RoundDeadline",
    "SynchronousAveraging",
    "TopK",
    "VectorLayout",
    "create_averager",
    "disagreement",
]
