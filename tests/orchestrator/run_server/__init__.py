"""Tests of the run server."""
