"""Videos and animations -> frames."""
