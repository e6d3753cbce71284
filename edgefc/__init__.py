"""edgefc."""
