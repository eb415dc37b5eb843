"""What tools share: experiments are loaded, or refused in one line."""

import importlib.util
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
_spec = importlib.util.spec_from_file_location("cli", ROOT / "tools" / "cli.py")
cli = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(cli)


@pytest.mark.parametrize("returned", ["[1]", "5", "None", "[('corpus', 5)]"])
def test_get_config_must_return_a_mapping(tmp_path, returned):
    path = tmp_path / "experiment.py"
    path.write_text(f"def get_config():\n    return {returned}\n")
    with pytest.raises(ValueError, match=r"experiment\.py must return a ConfigDict or a dict, not"):
        cli.load_experiment(str(path))
