"""Causal attention: one interface, several backends."""
