"""What two images, or numbers of codes, say of each other."""
