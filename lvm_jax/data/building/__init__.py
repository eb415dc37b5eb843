"""Sentences or lines of ids -> shards."""
