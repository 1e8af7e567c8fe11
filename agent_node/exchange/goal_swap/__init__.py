"""Exchange of teacher goals by contract net while an episode runs."""
