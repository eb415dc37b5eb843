"""Images <-> code ids."""
