"""What Pillow leaves out of files of pictures: metadata, samples, tags."""
