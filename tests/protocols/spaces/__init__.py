"""Tests of goal spaces, grids and reward maps."""
