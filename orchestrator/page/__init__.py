"""The live page: a process of its own that follows runs and serves their state to browsers."""
