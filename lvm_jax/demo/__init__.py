"""A page for prompting: prompts from a browser -> answers as they are made."""
