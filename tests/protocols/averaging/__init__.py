"""Tests of model averaging."""
