"""Scores, training curves and pictures for readers: a page, tables, sentences."""
