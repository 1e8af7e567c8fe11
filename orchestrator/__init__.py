"""The only part that a user starts: it checks the configuration, leads the run, and shows what came of it."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("murmuration-rl")
except PackageNotFoundError:  # a checkout on PYTHONPATH that is not installed
    __version__ = "unknown"
