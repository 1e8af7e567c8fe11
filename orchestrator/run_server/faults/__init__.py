"""Faults of a run: schedule, manual faults, records, report and verdict."""
