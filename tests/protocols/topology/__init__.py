"""Tests of communication graphs."""
