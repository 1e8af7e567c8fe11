"""Averaging of models with the neighbours in the graph. Consensus knows vectors and weights, never networks."""

from protocols.consensus.averager import Averaged, Averager, FixedSurroundings, Surroundings
from protocols.consensus.layout import VectorLayout
from protocols.consensus.robust import RobustAveraging
from protocols.consensus.sketch import Projection, disagreement
from protocols.consensus.synchronous import SynchronousAveraging

__all__ = [
    "Averaged",
    "Averager",
    "FixedSurroundings",
    "Projection",
    "RobustAveraging",
    "Surroundings",
    "SynchronousAveraging",
    "VectorLayout",
    "disagreement",
]
