"""Tests of reading and writing run directories."""
