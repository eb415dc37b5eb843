"""Next-token training."""
