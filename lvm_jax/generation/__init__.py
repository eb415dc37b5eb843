"""Prompts of images -> new images: prompts, sampling, the decode loop."""
