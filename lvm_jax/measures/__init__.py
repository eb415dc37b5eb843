"""What two images, two sets of them, or numbers of codes, say of each other."""
