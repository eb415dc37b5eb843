"""Code ids -> logits."""
