"""Prompts from files -> answers in files: what is asked, what is written, and what is there."""
