"""What tools/study.py runs: one module per study, and what these share."""
