"""Formats of other libraries that datasets are exported to and imported from."""
