"""The only part that a user starts: it checks the configuration, leads the run, and shows what came of it."""

__version__ = "0.1.0"
