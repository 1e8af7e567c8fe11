"""Commands that start, watch, change, stop and remove runs."""
