"""The host process: starts, watches and ends the nodes of one machine."""
