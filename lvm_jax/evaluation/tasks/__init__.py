"""Tasks: examples and what answers to them are worth; one file a task."""
