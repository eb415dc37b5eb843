"""What other projects call a LLaMA's arrays and sizes, and how their arrays differ from ours."""
