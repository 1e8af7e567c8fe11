"""Tests of sums of statistics over agents."""
