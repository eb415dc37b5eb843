"""Weights of transformers between formats, array by array."""
