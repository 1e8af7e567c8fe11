"""Averaging of models with the neighbours in the graph. Consensus knows vectors and weights, never networks."""

from protocols.consensus.averager import Averaged, Averager, FixedSurroundings, Surroundings
from protocols.consensus.layout import VectorLayout
from protocols.consensus.modes import create_averager
from protocols.consensus.pacing import Pacing
from protocols.consensus.robust import RobustAveraging
from protocols.consensus.sketch import Projection, disagreement
from protocols.consensus.synchronous import SynchronousAveraging

__all__ = [
    "Averaged",
    "Averager",
    "FixedSurroundings",
    "Pacing",
    "Projection",
    "RobustAveraging",
    "Surroundings",
    "SynchronousAveraging",
    "VectorLayout",
    "create_averager",
    "disagreement",
]
