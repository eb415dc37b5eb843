"""Batches -> train states -> checkpoints."""
