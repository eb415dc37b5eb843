"""The programs. As the package `lvm_jax.tools` they find one another as files of a folder do."""

import pathlib
import sys

_FOLDER = str(pathlib.Path(__file__).resolve().parent)
if _FOLDER not in sys.path:
    sys.path.insert(0, _FOLDER)
