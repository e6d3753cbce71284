"""Training data and training of edgefc-mini."""
