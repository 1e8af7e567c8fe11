"""Tests of push-sum averaging."""
