"""The files of a run in memory: read as they grow, and from the records of finished runs."""
