"""Averaging of vectors with the neighbours in the graph."""
