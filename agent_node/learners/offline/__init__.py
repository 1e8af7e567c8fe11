"""Learners from stored data, without new steps in the environment: one method a file."""
