"""Hosts and nodes of a run as the run server sees them: placement, commands, restarts and returned files."""
