"""The format in which visual sentences are kept: reader, writer, records."""
