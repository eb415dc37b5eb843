"""Shards -> rows -> batches."""
