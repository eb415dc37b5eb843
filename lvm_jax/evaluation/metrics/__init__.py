"""What an answer is worth: one file a metric."""
