"""The process that owns the environments, and nothing else: it steps all copies when everybody has acted, and knows no learner."""
