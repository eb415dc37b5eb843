"""What tools share: experiments are loaded, or refused in one line, and no flag goes unread."""

import json
import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys

import pytest

from experiment_files import load_experiment
from lvm_jax import configs
from lvm_jax.training.transformer import transformer_experiment

ROOT = pathlib.Path(__file__).resolve().parents[2]


def run(command):
    tool, *arguments = command.split()
    return subprocess.run(
        [sys.executable, f"tools/{tool}", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )


@pytest.mark.parametrize("returned", ["[1]", "5", "None", "[('corpus', 5)]"])
def test_get_config_must_return_a_mapping(tmp_path, returned):
    path = tmp_path / "experiment.py"
    path.write_text(f"def get_config():\n    return {returned}\n")
    with pytest.raises(ValueError, match=r"experiment\.py must return a ConfigDict or a dict, not"):
        load_experiment(str(path))


@pytest.mark.parametrize("value", ["none", "None"])
def test_a_section_may_be_left_out(value):
    path = str(ROOT / "experiments" / "lvm.py")
    experiment = load_experiment(path, [("eval_data", value)])
    assert transformer_experiment.build_experiment(experiment).eval_data is None
    with pytest.raises(ValueError, match=r"config\.model=None must be a mapping"):
        transformer_experiment.build_experiment(load_experiment(path, [("model", value)]))


def load(tmp_path, values):
    path = tmp_path / "experiment.py"
    path.write_text(f"def get_config():\n    return {values}\n")
    return load_experiment(str(path))


@pytest.mark.parametrize(
    "values, message",
    [
        ({"data": {"shards": "gcs://b/shards"}}, r"config\.data\.shards=gcs://b/shards .*no store"),
        (
            {"init_from": "gs://"},
            r"config\.init_from=gs:// is a URL of no store; write gs://BUCKET",
        ),
        ({"folders": ["a", "s3://b"]}, r"config\.folders\[1\]=s3://b is a URL.*copy"),
        ({"data": {"plan_cache": "gs://b"}}, r"config\.data\.plan_cache=gs://b is a URL.*disk"),
    ],
)
def test_urls_in_experiments_are_refused_where_they_lead_nowhere(tmp_path, values, message):
    with pytest.raises(ValueError, match=message):
        load(tmp_path, values)


def test_shards_and_weights_may_be_on_stores(tmp_path):
    values = {"data": {"sources": [{"shards": "s3://b/x"}]}, "init_from": "gs://b/runs/x"}
    assert load(tmp_path, values) == values


DEBUG = "--config=experiments/debug.py"


@pytest.mark.parametrize(
    "command, message",
    [
        # Overrides that nothing reads.
        ("build_shards.py --import_jsonl=a --out=x --config.n=3", "--config.n=3 overrides an ex"),
        (f"build_shards.py --import_jsonl=a --out=x {DEBUG}", "does not read --config"),
        # Flags of another mode.
        ("build_shards.py --import_jsonl=a --out=x --sheet=s.png", "does not read --sheet"),
        (f"build_shards.py {DEBUG} --dry_run --slice=0/2", "does not read --slice"),
        (
            f"build_shards.py {DEBUG} --tokenizer=t --out=o --num_codes=9",
            "does not read --num_code",
        ),
        (
            f"evaluate.py --task=perplexity --model=m --tokenizer=t --input_file=i {DEBUG}",
            "--config",
        ),
        (
            f"build_shards.py --print_config --import_jsonl=a {DEBUG}",
            "does not read --print_config",
        ),
        # Words that no flag takes.
        ("generate.py --model=m --tokenizer=t a.png", "a.png: several follow only --images"),
        # What is missing.
        ("evaluate.py --task=analogies --model=m --tokenizer=t", "analogies needs --config"),
        ("train.py --print_config", "--config is required"),
        (f"train.py {DEBUG}", "--workdir is required"),
        # Places that are no paths.
        (f"train.py {DEBUG} --workdir=gcs://bucket/run", "--workdir=gcs://bucket/run is a URL"),
        (
            "inspect_shards.py s4://bucket/shards",
            "argument s4://bucket/shards is a URL of no sto",
        ),
        ("build_shards.py --import_jsonl=a --out=gs://b/x", "--out=gs://b/x is a URL, but this is"),
        ("build_shards.py --import_jsonl=a s3://b --out=x", "the argument s3://b is a URL, but"),
        ("build_shards.py --import_jsonl=nowhere --out=x", "--import_jsonl=nowhere does not exist"),
        (f"build_shards.py {DEBUG} --dry_run", f"{DEBUG} has no section corpus"),
    ],
)
def test_a_command_line_that_cannot_be_obeyed_is_refused(command, message, tmp_path):
    before = sorted(ROOT.iterdir())
    refused = run(command)
    assert refused.returncode == 2, refused.stderr
    assert message in refused.stderr and len(refused.stderr.splitlines()) == 1
    assert sorted(ROOT.iterdir()) == before, "nothing was made, such as a folder called gs:"


TOOLS = sorted(
    path.name for path in ROOT.glob("tools/*.py") if "\n    cli.run(" in path.read_text()
)


@pytest.mark.parametrize("tool", TOOLS)
def test_help_shows_commands_as_they_are_typed(tool):
    shown = run(f"{tool} --help")
    assert shown.returncode == 0, shown.stderr
    about, flags = shown.stdout.split("\nflags:\n")
    assert f"python tools/{tool}" in about and "--v=1" in flags
    # The line of a command that goes on ends with a backslash; one in no raw text joins two.
    assert not re.search(r"\S {3,}--", about.replace("--help", "")), about


def test_help_shows_the_values_of_a_flag_and_its_other_names():
    shown = run("reconstruct.py --help").stdout
    assert "\n  --fit: <crop|squash>: how pictures become square" in shown
    assert "\n  --resize: as --fit\n" in shown


@pytest.mark.parametrize(
    "command, section",
    [
        ("train.py --config=experiments/lvm.py --config.mesh.fsdp=16", "mesh"),
        ("train_tokenizer.py --config=experiments/quickstart_tokenizer.py", "tokenizer"),
        ("build_shards.py --config=experiments/quickstart_sentences.py", "corpus"),
        (
            "build_shards.py --config=experiments/quickstart_sentences.py --tokenizer=t --out=o",
            "distributed",
        ),
        ("evaluate.py --config=experiments/quickstart_evaluation.py", "tasks"),
        ("compare_tokenizers.py --config=experiments/quickstart_tokenizer.py", "eval_corpus"),
    ],
)
def test_print_config_prints_the_whole_config_and_runs_nothing(command, section):
    printed = run(f"{command} --print_config")
    assert printed.returncode == 0, printed.stderr
    values = json.loads(printed.stdout)
    assert section in values
    if section == "mesh":
        experiment = transformer_experiment.build_experiment(values)
        assert configs.to_dict(experiment) == values, "defaults are filled in"
        assert values["mesh"] == {"data": -1, "fsdp": 16, "context": 1, "tensor": 1}


HEAD = """
import cli, dataclasses, sys
from absl import logging

@dataclasses.dataclass
class Options:
    name: str = ""

def main(options: Options) -> None:
"""


@pytest.mark.parametrize("unread", ["print('x')", "print('x' * 10**6)", "print('x'); sys.exit(0)"])
def test_a_reader_that_leaves_is_no_error(unread):
    program = f"{HEAD}\n    {unread}\ncli.run(main)"
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}/tools:{ROOT}"}
    pipes = dict.fromkeys(("stdout", "stderr"), subprocess.PIPE)
    tool = subprocess.Popen([sys.executable, "-c", program], env=environment, **pipes)
    tool.stdout.close()
    assert tool.stderr.read() == b"" and tool.wait() == 128 + signal.SIGPIPE


PROGRAM = f"""{HEAD}
    logging.warning("%s", options.name)
    print(options.name)
    raise ValueError(f"cannot read {{options.name}}")

cli.run(main, arguments={{"name": "NAME"}})
"""


LIST = """
import cli, dataclasses
from lvm_jax import configs

@dataclasses.dataclass
class Options:
    items: int = 0

def main(options: Options) -> None:
    item, size = configs.Field("config.items[0].size"), configs.Field("config.size")
    words = configs.Field("config.items.two words.size")
    raise configs.ConfigError(item, "=3 or ", words, "=3 exceeds ", size, "=2")

cli.run(main)
"""


def test_only_what_can_be_typed_is_spelled_as_a_flag():
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}/tools:{ROOT}"}
    command = [sys.executable, "-c", LIST]
    result = subprocess.run(command, capture_output=True, env=environment, text=True)
    assert result.returncode == 2 and result.stderr.endswith(
        ": config.items[0].size=3 or config.items.two words.size=3 exceeds --config.size=2\n"
    )


def test_names_that_are_no_text_are_printed_and_logged():
    name = os.fsdecode(b"caf\xe9")
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}/tools:{ROOT}"}
    command = [sys.executable, "-c", PROGRAM, name]
    result = subprocess.run(command, capture_output=True, env=environment, text=True)
    assert result.returncode == 2 and result.stdout == "caf\\udce9\n"
    warning, error = result.stderr.splitlines()
    assert warning.endswith(" caf\\udce9") and error.endswith("cannot read caf\\udce9")


def test_the_keys_of_a_config_may_be_read_in_part():
    tool = [sys.executable, str(ROOT / "tools" / "build_shards.py"), "--help_config"]
    command = f"{shlex.join(tool)} 2>&1 | head -n 4"
    shown = subprocess.run(command, shell=True, capture_output=True, text=True, cwd=ROOT).stdout
    assert "config.corpus: What a corpus is made of." in shown and "Traceback" not in shown
