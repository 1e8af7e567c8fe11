"""Averaging of models with the neighbours in the graph. Consensus knows vectors and weights, never networks."""

from protocols.consensus.averager import Averaged, Averager, FixedSurroundings, Surroundings
from protocols.consensus.choco import ChocoAveraging
from protocols.consensus.compressors import Quantise, TopK
from protocols.consensus.layout import VectorLayout
from protocols.consensus.modes import create_averager
from protocols.consensus.pacing import Pacing
from protocols.consensus.pushsum import PushSum
from protocols.consensus.robust import RobustAveraging
from protocols.consensus.sketch import Projection, disagreement
from protocols.consensus.synchronous import SynchronousAveraging

__all__ = [
    "Averaged",
    "Averager",
    "ChocoAveraging",
    "FixedSurroundings",
    "Pacing",
    "Projection",
    "PushSum",
    "Quantise",
    "RobustAveraging",
    "Surroundings",
    "SynchronousAveraging",
    "TopK",
    "VectorLayout",
    "create_averager",
    "disagreement",
]
