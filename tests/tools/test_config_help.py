"""--help_config: every key of every config has its line, with type, default and what it means."""

import dataclasses

import pytest

import build_shards
import compare_tokenizers
import config_help
import docstrings
import evaluate
import train
import train_tokenizer

TOOLS = (build_shards, compare_tokenizers, evaluate, train, train_tokenizer)


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.__name__)
def test_every_key_is_explained(tool):
    keys = list(config_help.keys(tool.keys()))
    assert [key.path for key in keys if not key.about] == [], "the docstring's Attributes lack them"
    assert all("\n" not in key.about and key.path.startswith("config") for key in keys)


def line(shown, path):
    (help_line,) = [line for line in shown.splitlines() if line.startswith(f"  {path}: ")]
    return help_line


def test_lines_have_type_default_and_the_value_of_the_experiment():
    values = {"data": {"packing": "stream"}, "model": {"preset": "3b"}, "batch_size": 8}
    shown = config_help.text(train.keys(), values)
    begins = {
        "config.batch_size": "int, required [here 8]  # rows",
        "config.accumulation": "int = 1  # micro-batches",
        "config.data.packing": "sentence|stream = sentence [here stream]  # ",
        "config.data.mixture.NAME.weight": "float or list of [int, float] = 1.0  # share",
        "config.eval_data.split.keys": "list of str = []  # ",
        "config.optimizer.decay_steps": "int or str or none = none  # ",
    }
    for path, text in begins.items():
        assert line(shown, path).startswith(f"  {path}: {text}")
    preset = line(shown, "config.model.preset")
    assert "100m, 300m" in preset and "[here 3b]" in preset


def test_kinds_of_sources_are_listed_once():
    shown = config_help.text(train_tokenizer.keys(), {})
    assert shown.count("of kind=inpainting:") == 1
    assert "config.corpus.sources.NAME.mask_ratio: float = 0.25" in shown
    assert "config.eval_corpus.sources.NAME, each kind: as for config.corpus.sources" in shown
    # What all kinds have is not said again for each.
    assert shown.count("config.corpus.sources.NAME.folder:") == 1


@dataclasses.dataclass
class Base:
    """Of both.

    Attributes:
        one: of the
            base. More.
    """

    one: int = 0


@dataclasses.dataclass
class Derived(Base):
    """Of one, e.g. this. And more.

    Attributes:
        two, three: alike: "a" or b.

    Raises:
        ValueError: never.
    """

    two: int = 0
    three: int = 0


def test_docstrings_are_read():
    alike = 'alike: "a" or b.'
    assert docstrings.of_fields(Derived) == {
        "one": "of the base. More.",
        "two": alike,
        "three": alike,
    }
    assert docstrings.about(Derived) == "Of one, e.g. this."
