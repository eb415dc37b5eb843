"""Tasks -> prompts -> answers -> numbers beside those of baselines, with what they were made of."""
