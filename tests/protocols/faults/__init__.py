"""Tests of the fault model."""
