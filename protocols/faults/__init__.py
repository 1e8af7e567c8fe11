"""Faults: what a configuration asks for, when it happens, and how it is done."""
