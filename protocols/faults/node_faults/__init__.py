"""Faults of nodes: process, clock, speed, storage and Byzantine faults."""
