"""Lets these tests import the modules beside them, such as `toy`."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
