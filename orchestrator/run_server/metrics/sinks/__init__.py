"""Forms of a run's metrics besides the nodes' own files: components of the room "sink"."""
