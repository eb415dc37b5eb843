"""Pairs of a model and its tokenizer that ship with the package."""
