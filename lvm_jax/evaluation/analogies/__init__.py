"""Is a task learned from its prompt: examples, what a model says to them, and scores."""
