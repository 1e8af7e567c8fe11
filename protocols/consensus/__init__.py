"""Averaging of models with the neighbours in the graph. Consensus knows vectors and weights, never networks."""

from protocols.consensus.layout import VectorLayout
from protocols.consensus.sketch import Projection, disagreement
from protocols.consensus.synchronous import Averaged, SynchronousAveraging

__all__ = ["Averaged", "Projection", "SynchronousAveraging", "VectorLayout", "disagreement"]
