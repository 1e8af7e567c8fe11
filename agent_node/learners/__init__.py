"""One algorithm a file, read from top to bottom."""
