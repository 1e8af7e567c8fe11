"""Liveness of nodes as the run server judges it."""
