"""Lets the tests of this folder import goldens/draw.py (importlib mode adds no folder)."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent / "goldens"))
