"""The process that owns the environments: it steps all copies when all agents have acted. It contains no learning code."""
