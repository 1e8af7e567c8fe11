"""Collecting the metrics of nodes and computing those of the whole run."""
