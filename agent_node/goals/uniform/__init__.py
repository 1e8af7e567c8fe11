"""Goal source: uniform over all goals."""
