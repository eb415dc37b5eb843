"""Sentences and ids -> shards -> rows -> batches."""
