"""Configurations: read from files, arguments and flags, merged, and checked as a whole before anything starts."""
