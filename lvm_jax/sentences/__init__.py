"""Sources -> visual sentences."""
