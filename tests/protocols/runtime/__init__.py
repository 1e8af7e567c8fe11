"""Tests of what every process of a run uses."""
