"""Training of tokenizers: reconstruction, and a game against a discriminator."""
