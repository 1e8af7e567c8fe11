"""Goal-conditioned double Q-learning."""
