"""One module per suite of tools/benchmark.py."""
