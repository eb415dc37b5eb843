"""The parts of tools/prepare_uvd_mini.py: packages in, pictures and annotations out."""
