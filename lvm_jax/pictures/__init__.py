"""References -> pixels: read, cropped, derived, drawn."""
