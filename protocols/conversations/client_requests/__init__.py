"""Requests of command lines to the run server."""
